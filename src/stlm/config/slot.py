"""Open slots: parts that are chosen by name.

A slot is a frozen base dataclass that names a package. For example, ``Patching`` names ``stlm.model.patching``. Every module of
that package with a class ``Config`` is one *kind* of the slot. ``Config`` derives from the slot, and the module also holds what
``Config`` builds. ``kind = "whitespace"`` names a module of that package; ``kind = "my_package.my_idea"`` names a module
elsewhere. There is no registry: adding a file adds a kind.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from stlm.config.bounds import Checked
from stlm.config.suggest import did_you_mean
from stlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Slot(Checked, abc.ABC):
    """Base of every slot. A subclass that sets ``package`` is a slot. A subclass of a slot, named ``Config``, is a kind."""

    package: ClassVar[str]

    @property
    def kind(self) -> str:
        """The name that chooses this part: the module inside the slot's package, or a dotted path."""
        module = type(self).__module__
        return module.removeprefix(self.package + ".")


def slot_of(annotation: object) -> type[Slot] | None:
    """The slot that a field's type stands for, or None if the field is no slot."""
    if isinstance(annotation, type) and issubclass(annotation, Slot) and "package" in vars(annotation):
        return annotation
    return None


def kinds(slot: type[Slot]) -> list[str]:
    """Names of the kinds in the slot's package, sorted."""
    return list(kinds_in(slot.package))


def kinds_in(package: str) -> tuple[str, ...]:
    """Names of the kinds of the slot that names ``package``, sorted."""
    return tuple(files_of(package))


@functools.cache
def files_of(package: str) -> dict[str, Path]:
    """The kinds of the slot that names ``package``, sorted, each with its file. The files are read but not imported, because
    most kinds import torch.
    """
    top, *rest = package.split(".")
    folder = Path(importlib.import_module(top).__path__[0], *rest)
    modules = {path.stem: path for path in folder.glob("[!_]*.py")}
    modules |= {path.parent.name: path for path in folder.glob("[!_]*/__init__.py")}
    return {name: path for name, path in sorted(modules.items())
            if re.search(r"^class Config\b", path.read_text(encoding="utf-8"), re.MULTILINE)}


def resolve(slot: type[Slot], kind: str, where: str) -> type[Slot]:
    """The ``Config`` class of one kind.

    Raises UserError, which lists the kinds, if there is no such kind.
    """
    known = kinds(slot)
    name = f"{slot.package}.{kind}" if kind in known else kind
    if kind not in known and ("." not in kind or _find_spec(kind) is None):
        raise UserError(f"{where}: there is no kind {kind!r}{did_you_mean(kind, known)}; "
                        f"the kinds are {', '.join(known)}, or a dotted path to a module of your own")
    config = getattr(_module(name, where), "Config", None)
    if not (isinstance(config, type) and issubclass(config, slot)):
        raise UserError(f"{where}: the module {kind!r} needs a class Config that derives from "
                        f"{slot.__module__}.{slot.__qualname__}")
    if inspect.isabstract(config):
        raise UserError(f"{where}: the class Config of {kind!r} lacks {', '.join(sorted(config.__abstractmethods__))}")
    return config


def _module(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, UserError):  # a package that isn't installed; callers say how to get it
        raise
    except Exception as error:  # a user's own module may raise anything
        raise UserError(f"{where}: {name} can't be imported: {type(error).__name__}: {error}") from None


def _find_spec(dotted: str) -> object | None:
    try:
        return importlib.util.find_spec(dotted)
    except (ImportError, ValueError):
        return None
