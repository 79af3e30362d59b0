"""Linear probe: whether one sentence follows from another."""

from __future__ import annotations

from stlm.evaluate.probes import LinearProbe
from stlm.evaluate.records import Place


class Config(LinearProbe):
    title = "RTE"
    groups = ("glue",)
    place = Place("glue_rte_validation", "nyu-mll/glue", "rte", "validation")
    fields = ("sentence1", "sentence2")
