"""Bits per byte of a text."""

from __future__ import annotations

import math

from stlm.errors import UserError
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.records import digest_of
from stlm.evaluate.scorer import bits_of
from stlm.evaluate.task import Figures, TaskConfig

SHOWN = 60  # bytes of a document that its line shows


class Config(TaskConfig):
    title = "bits per byte"
    options = ("text",)

    def run(self, context: Evaluation) -> Figures:
        """``protocol``: tokens of a window, tokens by which windows overlap, and bytes of the text. Bits per byte can be
        compared only if these are equal. The file of answers gets the bits per byte of each document.
        """
        held, limit = context.held_out(), context.scorer.limit
        if not any(held.documents):
            raise UserError(f"{held.source}: there is no text in it")
        bits, sizes = bits_of(context.scorer, held.documents, context.count_to(len(held.documents)))
        n_bytes, digest = sum(sizes), digest_of(held.documents)
        added = n_bytes - sum(map(len, held.documents))
        each = [{"document": number, "begins": text[:SHOWN].decode("utf-8", "replace"), "bytes": size,
                 "bits_per_byte": own / max(1, size)}
                for number, (text, own, size) in enumerate(zip(held.documents, bits, sizes, strict=True))]
        context.keep([{"of": digest, "model": context.scorer.name, "task": self.kind}, *each])
        return {"n": len(held.documents), "bits_per_byte,none": math.fsum(bits) / n_bytes, "bytes": n_bytes,
                "published": held.total, "subset_seed": held.seed, "source": held.source, "digest": digest,
                "how": f"each document by itself, windows of {limit} tokens that overlap by half"
                       + (f"; {added} spaces that the tokenizer puts before documents are counted" if added else ""),
                "protocol": {"seq_len": limit, "overlap": limit // 2, "bytes": n_bytes}}
