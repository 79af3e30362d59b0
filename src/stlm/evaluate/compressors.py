"""General compressors on the same bytes: what a model has to beat to have learned anything."""

from __future__ import annotations

import gzip
import lzma


def baselines(data: bytes) -> dict[str, float]:
    """Bits per byte of ``data`` under gzip -9 and xz -9e, each over the whole text at once."""
    return {
        "gzip -9": 8 * len(gzip.compress(data, 9, mtime=0)) / len(data),
        "xz -9e": 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data),
    }
