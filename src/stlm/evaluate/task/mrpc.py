"""Linear probe: whether two sentences mean the same."""

from __future__ import annotations

from stlm.evaluate.probes import LinearProbe
from stlm.evaluate.records import Place


class Config(LinearProbe):
    title = "MRPC"
    groups = ("glue",)
    place = Place("glue_mrpc_validation", "nyu-mll/glue", "mrpc", "validation")
    fields = ("sentence1", "sentence2")
