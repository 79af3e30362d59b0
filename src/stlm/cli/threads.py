"""``--threads N``. It is read before torch is imported, because that is when torch asks for the number."""

from __future__ import annotations

import os
from typing import Annotated

from stlm.config.bounds import Range
from stlm.config.words import read_number, take_option
from stlm.errors import UserError

FLAG = "--threads"
Threads = Annotated[int, Range(1, 1024)]


def use_threads(arguments: list[str]) -> list[str]:
    """Have the CPU compute with as many threads as the arguments say. Returns the other arguments."""
    value, rest = take_option(arguments, FLAG)
    if value is not None:
        try:
            os.environ["OMP_NUM_THREADS"] = str(read_number(FLAG, Threads, value))
        except ValueError as error:
            raise UserError(str(error)) from None
    return rest
