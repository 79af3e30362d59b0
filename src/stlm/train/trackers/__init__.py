"""Programs that also receive the metrics. ``train.trackers`` names modules of this package, or dotted paths to others. Each
module has a callback named ``Tracker``, built from the run's folder and config before anything is read or trained: it checks
what it needs, and raises UserError if that is missing. It opens its record in ``on_train_begin``. The metrics file is always
written.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable

from stlm.config.suggest import did_you_mean
from stlm.errors import UserError, in_one_line
from stlm.train.folder import RunFolder
from stlm.train.guard import Guarded
from stlm.train.loop import Callback
from stlm.train.run_config import RunConfig


def build(config: RunConfig, folder: RunFolder, tell: Callable[[str], None]) -> list[Callback]:
    """The trackers that a run names. UserError if one is unknown, or lacks a package or what else it needs. tell: is called
    with a line if a tracker fails in training, which doesn't end the run.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    for name in config.train.trackers:
        if name not in known and "." not in name:
            raise UserError(f"train.trackers: there is no tracker {name!r}{did_you_mean(name, known)}; "
                            f"the trackers are {', '.join(known)}, or a dotted path to a module of your own")
    return [Guarded(_made(f"{__name__}.{name}" if name in known else name, name, folder, config), f"the tracker {name}", tell)
            for name in config.train.trackers]


def _made(module: str, name: str, folder: RunFolder, config: RunConfig) -> Callback:
    try:
        return importlib.import_module(module).Tracker(folder, config)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"train.trackers: {name} needs a package that isn't installed ({in_one_line(error)}): "
                        "pip install 'stlm[tracking]'") from None
    except Exception as error:  # a module of the user's own may raise any type
        raise UserError(f"train.trackers: {name} can't be used ({in_one_line(error)})") from error
