"""Read the items of a benchmark from ``$STLM_DATA/eval``, from a folder, or from the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stlm.config.writing import to_json
from stlm.data.readers import records_of
from stlm.errors import UserError

Record = dict[str, Any]
KINDS = (".jsonl.zst", ".jsonl.gz", ".jsonl.xz", ".jsonl", ".parquet")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a data set is. file: its name in ``$STLM_DATA/eval``, without the suffix. hub, config, split: its names on the hub;
    the config ``*`` means all configs.
    """

    file: str
    hub: str
    config: str | None
    split: str


def load(place: Place, folder: Path | None = None) -> tuple[list[Record], str]:
    """The items, and a phrase that says where they are from.

    folder: search only there, for files named as in ``$STLM_DATA/eval`` or in the hub's layout,
    ``[NAME/][CONFIG/]SPLIT*.parquet`` or ``.jsonl``. Raises UserError if there are none.
    """
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder; --data takes one with the benchmarks' files")
        if files := in_folder(place, folder):
            return _read(files), f"folder {folder.name}"
        raise UserError(f"{folder}: there is neither {place.file}.jsonl nor {place.hub.split('/')[-1]}/"
                        f"{place.config + '/' if place.config else ''}{place.split}*.parquet")
    if (data := os.environ.get("STLM_DATA")) and (files := in_folder(place, Path(data) / "eval")):
        return _read(files), "STLM_DATA"
    return _from_hub(place), f"hub {place.hub}"


def in_folder(place: Place, folder: Path) -> list[Path]:
    """Files of a folder that hold the items; an empty list if there are none."""
    for kind in KINDS:
        if (path := folder / (place.file + kind)).is_file():
            return [path]
    name, inside = place.hub.split("/")[-1], f"{place.config}/" if place.config else ""
    for start in (f"{name}/{inside}", inside or f"{name}/", "", "data/", f"{name}/data/"):
        if found := [path for kind in KINDS for path in sorted(folder.glob(f"{start}{place.split}*{kind}"))]:
            return found
    return []


def _read(files: list[Path]) -> list[Record]:
    return [record for file in files for record in records_of(file)]


def _from_hub(place: Place) -> list[Record]:
    try:
        import datasets
    except ModuleNotFoundError:
        raise UserError(f"{place.hub}: reading from the hub needs datasets; pip install 'stlm[data]', or set STLM_DATA, "
                        "or give a folder with --data") from None
    try:
        configs = datasets.get_dataset_config_names(place.hub) if place.config == "*" else [place.config]
        return [record for config in configs for record in datasets.load_dataset(place.hub, config, split=place.split)]
    except Exception as error:  # the network and the hub raise many types of errors
        message = str(error).strip().splitlines()
        raise UserError(f"{place.hub}: cannot be read from the hub ({message[0] if message else type(error).__name__}); "
                        "set STLM_DATA, or give a folder with --data") from None


def choices_of(record: Record) -> list[str]:
    """The choices of a question, from the format of the hub or of ``$STLM_DATA/eval``."""
    choices = record["choices"]
    return list(choices["text"] if isinstance(choices, dict) else choices)


def gold_of(record: Record) -> int:
    """The number of the right choice, from the field of ``$STLM_DATA/eval`` or from the hub's label."""
    return record["gold"] if "gold" in record else record["choices"]["label"].index(record["answerKey"].strip())


def digest_of(pieces: Iterable[bytes]) -> str:
    """A hash of what a task read, piece by piece."""
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(hashlib.sha256(piece).digest())
    return whole.hexdigest()[:16]


def write_lines(path: Path, lines: Iterable[Record]) -> None:
    """Add records to a JSON-lines file. All are on disk when this returns."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(to_json(line) + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
