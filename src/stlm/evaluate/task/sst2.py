"""Linear probe: whether a film review is positive."""

from __future__ import annotations

from stlm.evaluate.probes import LinearProbe
from stlm.evaluate.records import Place


class Config(LinearProbe):
    title = "SST-2"
    groups = ("glue",)
    place = Place("glue_sst2_validation", "nyu-mll/glue", "sst2", "validation")
    fields = ("sentence",)
