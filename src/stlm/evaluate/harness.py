"""Our models in lm-evaluation-harness, so that all of its tasks work:

    python -m stlm.evaluate.harness --model stlm --model_args path=RUN --tasks arc_easy

or, from Python, ``lm_eval.simple_evaluate(model=StlmModel(path="RUN"), tasks=[...])``.
"""

from __future__ import annotations

import sys
from typing import Any

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from stlm.evaluate.native import NativeScorer
from stlm.evaluate.scorer import Scorer
from stlm.train.folder import find_checkpoint
from stlm.train.machine import pick_device

LONGEST = 1024  # bytes to generate if a task sets no limit


@register_model("stlm")
class StlmModel(LM):
    """path: a run's name or folder, or a checkpoint's."""

    def __init__(self, path: str = "", scorer: Scorer | None = None, **ignored: Any) -> None:
        super().__init__()
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
    """The command line of lm-evaluation-harness, with our models registered."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
