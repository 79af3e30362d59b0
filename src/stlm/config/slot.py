"""Open slots: a part of the house that is chosen by name.

A slot is a frozen base dataclass that names a package, for example ``Patching`` names ``stlm.model.patching``.
Every module of that package is one *kind* of the slot and holds one subclass called ``Config``, beside the class that
it builds. ``kind = "whitespace"`` names the module of that package; ``kind = "my_package.my_idea"`` names a module
outside the tree. Nothing is registered anywhere: adding a file adds a kind.
"""

from __future__ import annotations

import abc
import dataclasses
import difflib
import importlib
import importlib.util
import pkgutil
from typing import ClassVar

from stlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Slot(abc.ABC):
    """Base of every slot. A subclass with ``package`` set is a slot; a subclass of that, named ``Config``, is a kind."""

    package: ClassVar[str]

    @property
    def kind(self) -> str:
        """The name by which this part is chosen: the module inside the slot's package, or a dotted path."""
        module = type(self).__module__
        return module.removeprefix(self.package + ".")


def slot_of(annotation: object) -> type[Slot] | None:
    """The slot that a field's type stands for, or None where the field is no slot."""
    if isinstance(annotation, type) and issubclass(annotation, Slot) and "package" in vars(annotation):
        return annotation
    return None


def kinds(slot: type[Slot]) -> list[str]:
    """Names of the kinds inside the tree, sorted; no module is imported for it but the slot's own package."""
    package = importlib.import_module(slot.package)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def resolve(slot: type[Slot], kind: str, where: str) -> type[Slot]:
    """The ``Config`` class of one kind.

    Raises UserError, with the kinds that there are, where the name leads nowhere.
    """
    known = kinds(slot)
    name = f"{slot.package}.{kind}" if kind in known else kind
    if kind not in known and ("." not in kind or _find_spec(kind) is None):
        raise UserError(f"{where}: there is no kind {kind!r}{did_you_mean(kind, known)}; "
                        f"the kinds are {', '.join(known)}, or a dotted path to a module of your own")
    config = getattr(importlib.import_module(name), "Config", None)
    if not (isinstance(config, type) and issubclass(config, slot)):
        raise UserError(f"{where}: the module {kind!r} needs a class Config that derives from "
                        f"{slot.__module__}.{slot.__qualname__}")
    return config


def _find_spec(dotted: str) -> object | None:
    try:
        return importlib.util.find_spec(dotted)
    except (ImportError, ValueError):
        return None


def did_you_mean(word: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest known word, else an empty string."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
