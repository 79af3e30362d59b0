"""Ways to damage the folder of a run: bytes, numbers and types in records, tensors, whole files; and to make its sums right."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st

from stlm.train.checkpoint import TRAINER, sha256

ODD = [None, True, False, -1, 0, 1, 2, 3, 7, 2**31, 2**63, 10**400, 0.5, -0.5, 1e-300, 1e308, float("nan"), float("inf"), "",
       "x", "1", "none", "a.b", ".", "\ud800", "\0", "../../etc/passwd", "é" * 300, [], {}, [1], [None], ["x"], {"a": 1}, [[]],
       {"kind": 1}]
values = st.one_of(st.sampled_from(ODD), st.integers(-10, 300), st.floats(), st.text(max_size=6))
share = st.floats(0, 1, exclude_max=True)
Change = Callable[[Path, st.DataObject], None]


class Bomb:
    """An object whose unpickling writes a file beside the run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("bomb", "w")


def flip(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        if content:
            content[int(data.draw(share) * len(content))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)


def cut(path: Path, data: st.DataObject) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:int(data.draw(share) * len(content))])


def insert(path: Path, data: st.DataObject) -> None:
    content = path.read_bytes()
    at = int(data.draw(share) * (len(content) + 1))
    path.write_bytes(content[:at] + data.draw(st.binary(min_size=1, max_size=12)) + content[at:])


def lengthen_header(path: Path, data: st.DataObject) -> None:
    """safetensors begin with the length of their header."""
    length = data.draw(st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1]))
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])


def empty(path: Path, data: st.DataObject) -> None:
    path.write_bytes(b"")


def delete(path: Path, data: st.DataObject) -> None:
    path.unlink()


def rename(path: Path, data: st.DataObject) -> None:
    path.rename(path.with_name(data.draw(st.sampled_from(["other", "README.md", ".hidden", "step_x", "ema.safetensors"]))))


def make_folder(path: Path, data: st.DataObject) -> None:
    path.unlink()
    path.mkdir()


def make_link(path: Path, data: st.DataObject) -> None:
    path.unlink()
    path.symlink_to(data.draw(st.sampled_from(["nowhere", path.name, "/dev/zero", "../../../../outside/secret.txt", "."])))


def add(path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["ema.safetensors", "objective.safetensors", "optimizer.pt", "tokenizer.json", "x"]))
    if not (path.parent / name).exists():
        shutil.copy(path, path.parent / name)


def swap(path: Path, data: st.DataObject) -> None:
    """Change places with another file, often the same of another checkpoint."""
    others = sorted(other for other in path.parents[1].rglob("*") if other.is_file() and other != path)
    same = [other for other in others if other.name == path.name]
    other = data.draw(st.sampled_from(same or others))
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def change_json(path: Path, data: st.DataObject) -> None:
    """Replace, delete, rename or add a value somewhere in a record, or in a line of records."""
    lines = path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
    at = int(data.draw(share) * len(lines)) if lines else 0
    try:
        record = {"": json.loads(lines[at])}
    except (IndexError, ValueError):
        return flip(path, data)
    change_value(record, data)
    lines[at] = json.dumps(record.get("")).encode()
    path.write_bytes(b"\n".join(lines))


def change_value(record: Any, data: st.DataObject) -> None:
    places = list(places_in(record))
    holder, key = places[int(data.draw(share) * len(places))]
    how, value = data.draw(st.sampled_from(["replace", "replace", "replace", "delete", "add", "scale"])), data.draw(values)
    if how == "delete":
        del holder[key]
    elif how == "add" and isinstance(holder[key], dict):
        holder[key][data.draw(st.sampled_from(["new", "kind", "", "dropout", "rows", "sha256"]))] = value
    elif how == "scale" and isinstance(holder[key], int | float):
        holder[key] = holder[key] * data.draw(st.sampled_from([2, -1, 0.5, 1000]))
    else:
        holder[key] = copy.deepcopy(value)


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Every value inside lists and dicts, as the list or dict and the key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *places_in(value[key])]]


def change_tensors(path: Path, data: st.DataObject) -> None:
    """Another shape or type, a tensor more or fewer, numbers that aren't finite."""
    try:
        found = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError):
        return flip(path, data)
    name = data.draw(st.sampled_from(sorted(found)))
    found = {key: change_tensor(value, data) if key == name else value for key, value in found.items()}
    how = data.draw(st.sampled_from(["as it is", "drop", "add", "rename"]))
    if how in ("drop", "rename"):
        taken = found.pop(name)
        found |= {f"{name}.x": taken} if how == "rename" else {}
    if how == "add":
        found["extra"] = torch.zeros(3)
    safetensors.torch.save_file(found, path)


def change_tensor(value: torch.Tensor, data: st.DataObject) -> torch.Tensor:
    how = data.draw(st.sampled_from(["nan", "inf", "huge", "bf16", "f64", "int", "bool", "flat", "longer", "fewer", "noise"]))
    value = value.clone()
    if how in ("nan", "inf", "huge") and value.is_floating_point():
        value.view(-1)[:1] = {"nan": float("nan"), "inf": float("inf"), "huge": 3e38}[how]
    elif how in ("bf16", "f64", "int", "bool"):
        value = value.to({"bf16": torch.bfloat16, "f64": torch.float64, "int": torch.int8, "bool": torch.bool}[how])
    elif how == "flat":
        value = value.reshape(-1)
    elif how == "longer":
        value = torch.cat([value.reshape(-1), value.reshape(-1)])
    elif how == "fewer" and value.dim():
        value = value[:0]
    elif how == "noise" and value.is_floating_point():
        value = 1e4 * torch.randn(value.shape)
    return value.contiguous()


def change_state(path: Path, data: st.DataObject) -> None:
    """Something else somewhere in the optimizer's state, or code instead of it."""
    try:
        state = {"": torch.load(path, weights_only=True)}
    except Exception:
        return flip(path, data)
    holder, key = (places := places_in(state))[int(data.draw(share) * len(places))]
    if isinstance(holder[key], torch.Tensor):
        holder[key] = change_tensor(holder[key], data)
    elif data.draw(st.booleans()):
        change_value(state, data)
    else:
        holder[key] = Bomb()
    torch.save(state.get(""), path)


ANY: list[Change] = [flip, cut, insert, empty, delete, rename, make_folder, make_link, add, swap]
FITTING: dict[str, list[Change]] = {".json": [change_json], ".jsonl": [change_json], ".pt": [change_state],
                                    ".safetensors": [change_tensors, lengthen_header]}


def damage(run: Path, data: st.DataObject) -> None:
    """Change one to three files of a run; often the sums of its checkpoints are made right again."""
    for _ in range(data.draw(st.integers(1, 3))):
        files = sorted(path for path in run.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            return
        path = data.draw(st.sampled_from(files))
        fitting = FITTING.get(path.suffix, [])
        data.draw(st.sampled_from([*ANY, *fitting * (len(ANY) // max(1, len(fitting)))]))(path, data)
    if data.draw(st.integers(0, 3)):
        for trainer in sorted(run.rglob(TRAINER)):
            mend(trainer)


def mend(trainer: Path) -> None:
    """Make the sums of a checkpoint right, where there still are sums."""
    try:
        record = json.loads(trainer.read_bytes() if trainer.is_file() else b"")
        for name in record["sha256"]:
            if (trainer.parent / name).is_file():
                record["sha256"][name] = sha256(trainer.parent / name)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    trainer.write_text(json.dumps(record))
