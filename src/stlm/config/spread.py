"""Flags of ``stlm train`` that don't describe a run, but how it is spread over processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from stlm.config.bounds import Range
from stlm.config.words import read_number, take_option
from stlm.errors import UserError

PROCESSES, FSDP = "--processes", "--fsdp"
WHEN = ("auto", "on", "off")
ProcessCount = Annotated[int, Range(1, 1024)]


def take_processes(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """The number of processes that the arguments ask for, and the other arguments."""
    value, rest = take_option(arguments, PROCESSES)
    try:
        return (1 if value is None else int(read_number(PROCESSES, ProcessCount, value))), rest
    except ValueError as error:
        raise UserError(str(error)) from None


def take_fsdp(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Whether each process holds only a part of the weights: one of `WHEN`; and the other arguments."""
    value, rest = take_option(arguments, FSDP)
    if value not in (None, *WHEN):
        raise UserError(f"{FSDP} {value}: it has to be one of {', '.join(WHEN)}")
    return value or WHEN[0], rest
