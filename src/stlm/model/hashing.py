"""Constants for hashes modulo 2^64, as signed numbers."""

from __future__ import annotations

BASE, MIX = -7046029254386353131, -4658895280553007687  # both odd: from the golden ratio, and from MurmurHash3's mixer
INVERSE = pow(BASE, -1, 2**64) - 2**64  # BASE * INVERSE = 1
