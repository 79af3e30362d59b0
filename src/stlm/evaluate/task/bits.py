"""Bits per byte of a text."""

from __future__ import annotations

import math

from stlm.errors import UserError
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.task import Figures, TaskConfig


class Config(TaskConfig):
    title = "bits per byte"
    options = ("text",)

    def run(self, context: Evaluation) -> Figures:
        """``protocol``: tokens of a window, tokens by which windows overlap, and bytes of the text. Bits per byte can be
        compared only if these are equal.
        """
        held, scorer = context.held_out(), context.scorer
        n_bytes = sum(map(len, held.documents))
        if not n_bytes:
            raise UserError(f"{held.source}: there is no text in it")
        nats = -math.fsum(scorer.log_p_of_documents(held.documents, context.count_to(len(held.documents))))
        return {"n": len(held.documents), "bits_per_byte,none": nats / math.log(2) / n_bytes, "bytes": n_bytes,
                "published": held.total, "subset_seed": held.seed, "source": held.source,
                "how": f"each document by itself, windows of {scorer.limit} tokens that overlap by half",
                "protocol": {"seq_len": scorer.limit, "overlap": scorer.limit // 2, "bytes": n_bytes}}
