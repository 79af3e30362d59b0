"""General compressors on the same bytes. A model that is worse than these has learned little."""

from __future__ import annotations

import contextlib
import gzip
import lzma


def baselines(data: bytes) -> dict[str, float]:
    """Bits per byte of ``data`` with gzip -9, xz -9e and zstd -19, each on the whole text at once.

    Where zstandard can't be imported, its figure is left out, so that a run is scored also where nothing can be installed.
    """
    packed = {"gzip -9": gzip.compress(data, 9, mtime=0), "xz -9e": lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)}
    with contextlib.suppress(ImportError):
        import zstandard

        packed["zstd -19"] = zstandard.ZstdCompressor(level=19).compress(data)
    return {name: 8 * len(result) / len(data) for name, result in packed.items()}
