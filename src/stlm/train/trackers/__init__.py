"""Programs that also receive the metrics. ``train.trackers`` names modules of this package, or dotted paths to others. Each
module has a callback named ``Tracker``, built from the run's folder and config. The metrics file is always written.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

from stlm.config.suggest import did_you_mean
from stlm.errors import UserError
from stlm.train.folder import RunFolder
from stlm.train.loop import Callback
from stlm.train.run_config import RunConfig


def build(config: RunConfig, folder: RunFolder) -> list[Callback]:
    """The trackers that a run names. UserError if one is unknown or its package isn't installed."""
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    callbacks = []
    for name in config.train.trackers:
        if name not in known and "." not in name:
            raise UserError(f"train.trackers: there is no tracker {name!r}{did_you_mean(name, known)}; "
                            f"the trackers are {', '.join(known)}, or a dotted path to a module of your own")
        try:
            module = importlib.import_module(f"{__name__}.{name}" if name in known else name)
            callbacks.append(module.Tracker(folder, config))
        except ImportError as error:
            raise UserError(f"train.trackers: {name} needs a package that isn't installed ({error.name}): "
                            "pip install 'stlm[tracking]'") from None
    return callbacks
