"""How a run is described: frozen dataclasses, open slots, TOML files and flags."""
