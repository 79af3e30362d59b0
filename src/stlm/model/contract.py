"""Checks that a part returns the shapes and types that its contract promises: the annotations of the class it derives from.

Annotations such as ``Float[Tensor, "batch patch dim"]`` name sizes. Equal names stand for equal sizes. The arguments of a call
give the names their sizes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

Sizes = dict[str, int]


@contextlib.contextmanager
def contracts_kept(model: nn.Module) -> Iterator[None]:
    """In this context, a module raises AssertionError if its result has another shape or type than its contract says."""
    handles = [module.register_forward_hook(functools.partial(_check, contract), with_kwargs=True)
               for module in model.modules() if (contract := contract_of(module)) is not None]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def contract_of(module: nn.Module) -> Callable[..., Any] | None:
    """``forward`` of the most general class that the module derives from; None if its annotations give no shapes."""
    found: Any = next((vars(base)["forward"] for base in reversed(type(module).__mro__)
                       if "forward" in vars(base) and base is not nn.Module), None)
    return found if found is not None and any(hasattr(hint, "dim_str") for hint in _hints(found).values()) else None


def _check(contract: Callable[..., Any], module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], found: Any
           ) -> None:
    hints, given = _hints(contract), inspect.signature(contract).bind(module, *arguments, **keywords).arguments
    sizes: Sizes = {}
    for name, value in given.items():
        _learn(value, hints.get(name), sizes)
        if isinstance(value, int):
            sizes.setdefault(name, value)
    if fault := _fault(found, hints.get("return"), sizes):
        raise AssertionError(f"{type(module).__name__} of {type(module).__module__} returned {fault}")


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(inspect.unwrap(function))


def _learn(value: Any, hint: Any, sizes: Sizes) -> None:
    """Learn the sizes of the names in the annotation of an argument, or of its fields."""
    for tensor, each in _tensors(value, hint):
        names = each.dim_str.split()
        if isinstance(tensor, Tensor) and len(names) == tensor.dim():
            for name, size in zip(names, tensor.shape, strict=True):
                if name.isidentifier():
                    sizes.setdefault(name, size)


def _fault(value: Any, hint: Any, sizes: Sizes) -> str | None:
    """What is wrong with a result, and what the contract says; None if nothing is wrong. New names get their sizes."""
    for tensor, each in _tensors(value, hint):
        names = each.dim_str.split()
        due = ", ".join(f"{name} = {sizes[name]}" if name in sizes else name for name in names)
        if not isinstance(tensor, Tensor):
            return f"{tensor!r:.40} where the contract says a tensor [{due}]"
        shown = f"{str(tensor.dtype).removeprefix('torch.')} {[*tensor.shape]}"
        if not isinstance(tensor, each):
            return f"{shown} where the contract says {each.__name__.partition('[')[0]} [{due}]"
        _learn(tensor, each, sizes)
        if any(size != sizes.get(name, size) for name, size in zip(names, tensor.shape, strict=False)):
            return f"{shown} where the contract says [{due}]"
    return None


def _tensors(value: Any, hint: Any) -> Iterator[tuple[Any, Any]]:
    """Each value in ``value`` whose annotation gives a shape, with that annotation."""
    if hasattr(hint, "dim_str"):
        yield value, hint
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name), hints[field.name])
    elif typing.get_origin(hint) is tuple and isinstance(value, tuple) and len(typing.get_args(hint)) == len(value):
        for item, each in zip(value, typing.get_args(hint), strict=True):
            yield from _tensors(item, each)
    elif value is not None:
        for each in typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else ():
            yield from _tensors(value, each)
