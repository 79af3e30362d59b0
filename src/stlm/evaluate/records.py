"""Where the items of a benchmark lie: in ``$STLM_DATA/eval``, in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stlm.data.readers import records_of
from stlm.errors import UserError

Record = dict[str, Any]
KINDS = (".jsonl.zst", ".jsonl.gz", ".jsonl", ".parquet")


@dataclasses.dataclass(frozen=True)
class Place:
    """file: its name in ``$STLM_DATA/eval``, without the suffix. hub, config, split: what the hub calls it; a config of
    ``*`` stands for all that there are.
    """

    file: str
    hub: str
    config: str | None
    split: str


def load(place: Place, folder: Path | None = None) -> tuple[list[Record], str]:
    """The items, and in words where they are from.

    folder: look there instead: for files named as in ``$STLM_DATA/eval``, or in the hub's layout,
    ``[NAME/][CONFIG/]SPLIT*.parquet`` or ``.jsonl``. Raises UserError, saying what would be right, where there are none.
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
    """Files of a folder that hold the items; none where there are none."""
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
    except Exception as error:  # whatever the network or the hub may raise
        said = str(error).strip().splitlines()
        raise UserError(f"{place.hub}: cannot be read from the hub ({said[0] if said else type(error).__name__}); "
                        "set STLM_DATA, or give a folder with --data") from None


def choices_of(record: Record) -> list[str]:
    """The choices of a question, as the hub writes them or as ``$STLM_DATA/eval`` does."""
    choices = record["choices"]
    return list(choices["text"] if isinstance(choices, dict) else choices)


def gold_of(record: Record) -> int:
    """The number of the right choice: as ``$STLM_DATA/eval`` writes it, else by the label that the hub gives."""
    return record["gold"] if "gold" in record else record["choices"]["label"].index(record["answerKey"].strip())


def write_lines(path: Path, lines: Iterable[Record]) -> None:
    """Add records to a JSON-lines file, all of them on disk when this returns."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
