"""Optimizers with all their fields in use: what has to hold for each, whatever else differs."""

from __future__ import annotations

from stlm.optim import OptimConfig, adamw, muon, soap

CONFIGS: dict[str, OptimConfig] = {
    "adamw": adamw.Config(), "adamw cautious": adamw.Config(cautious=True, base_width=16, local_lr_mult=2.0),
    "muon": muon.Config(), "muon cautious": muon.Config(cautious=True, local_lr_mult=2.0, coefficients="polar_express"),
    "muon in blocks": muon.Config(blocks=4, every=3, iterations=4), "muon always in blocks": muon.Config(blocks=64),
    "muon normalized": muon.Config(normalize=True, blocks=2, every=2),
    "muon and soap": muon.Config(local="soap", precision="bf16"),
    "soap": soap.Config(every=3), "soap of short sides": soap.Config(every=2, largest=16, cautious=True),
}
