"""``--device NAME``. It is read before torch is imported, so a wrong name is refused at once."""

from __future__ import annotations

import re

from stlm.config.words import take_option
from stlm.errors import UserError

FLAG = "--device"


def take_device(arguments: list[str]) -> tuple[str, list[str]]:
    """The device that the arguments name, and the other arguments. The default is ``auto``."""
    wanted, rest = take_option(arguments, FLAG)
    if wanted is not None and not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", wanted):
        raise UserError(f"{FLAG} {wanted}: it has to be auto, cpu, cuda, cuda:N or mps")
    return wanted or "auto", rest
