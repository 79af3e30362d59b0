"""Our models in lm-evaluation-harness, so that all of its tasks work:

    python -m stlm.evaluate.harness --model stlm --model_args path=RUN --tasks arc_easy

or, from Python, ``lm_eval.simple_evaluate(model=StlmModel(path="RUN"), tasks=[...])``. Its tasks are read from the Hugging Face
hub; ``stlm eval`` reads most of them from ``$STLM_DATA/eval`` too.
"""

from __future__ import annotations

import sys
from typing import Any

from stlm.errors import UserError
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.scorer import Scorer
from stlm.train.device import pick_device
from stlm.train.folder import find_checkpoint

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ModuleNotFoundError:
    print("stlm: stlm.evaluate.harness needs lm-evaluation-harness; pip install 'stlm[harness]'", file=sys.stderr)
    sys.exit(2)

LONGEST = 1024  # bytes to generate if a task sets no limit
OF_THE_HARNESS = ("batch_size", "max_batch_size", "device")  # arguments that it gives to every model; ours decide these


@register_model("stlm")
class StlmModel(LM):
    """path: a run's name or folder, or a checkpoint's."""

    def __init__(self, path: str = "", scorer: Scorer | None = None, **others: Any) -> None:
        super().__init__()
        wrong = [name for name in others if name not in OF_THE_HARNESS]
        if wrong or not (path or scorer):
            raise UserError(f"--model_args {wrong[0] if wrong else 'path'}=: the model stlm takes path=RUN, the name or "
                            "folder of a run")
        self.scorer = scorer or NativeScorer.of(path, find_checkpoint(path), pick_device())

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        found = self.scorer.likelihoods([request.args for request in requests])
        return [(one.log_p, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        return self.scorer.log_p_of_documents([request.args[0].encode("utf-8") for request in requests])

    def generate_until(self, requests: list[Any]) -> list[str]:
        out = []
        for request in requests:
            prompt, how = request.args
            stops = how.get("until", [])
            temperature = how.get("temperature", 0.0) if how.get("do_sample", False) else 0.0
            out += self.scorer.write([prompt], how.get("max_gen_toks", LONGEST), [stops] if isinstance(stops, str) else stops,
                                     temperature)
        return out


def main() -> int:
    """The command line of lm-evaluation-harness, with our models registered. Returns the exit status."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except UserError as error:
        message = str(error)
    except (OSError, ValueError) as error:  # the network, the hub, and names of tasks
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        message = (f"lm-evaluation-harness: {first} (its tasks are read from the Hugging Face hub; `stlm eval` reads most of "
                   "them from $STLM_DATA/eval too)")
    else:
        return 0
    print(f"stlm: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
