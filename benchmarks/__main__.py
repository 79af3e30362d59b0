"""``python -m benchmarks NAME [flags]``: run one benchmark; the record goes to ``results/speed/NAME.json``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

HELPERS = ("__main__", "common", "nanogpt", "llama")


def main() -> int:
    names = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in HELPERS]
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print(__doc__, *(f"  {name:<12} {importlib.import_module(f'benchmarks.{name}').__doc__.splitlines()[0]}"
                         for name in names), sep="\n")
        return 2
    importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
