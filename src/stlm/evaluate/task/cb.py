"""Linear probe: whether a sentence follows from a text, contradicts it, or neither."""

from __future__ import annotations

from stlm.evaluate.probes import LinearProbe
from stlm.evaluate.records import Place


class Config(LinearProbe):
    title = "CB"
    groups = ("glue",)
    place = Place("super_glue_cb_validation", "aps/super_glue", "cb", "validation")
    fields = ("premise", "hypothesis")
