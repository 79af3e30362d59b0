"""What comes back: `records.zip` and the weights in parts, so that no file has 16 MiB. A kill at any moment loses little.

The records are written anew, in one move, whenever there is more to tell. The weights are a tar file in parts. The name of a
part says the step, the beginning of the sum of the whole tar file, and which part it is: `model-0001200-1f2e3d4c5b6a.1of2`. So
parts need no list, and parts of two steps can't be confused.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import tempfile
import zipfile
from pathlib import Path

from stlm.config.writing import write_bytes_whole
from stlm.errors import UserError

RECORDS = "records.zip"
PART = 16 * 10**6  # bytes of a part: below 16 MiB, and room for the transfer's own
RECORDS_ROOM = 4 << 20  # bytes that are left for the records
NAME = re.compile(r"(model-(\d+)-([0-9a-f]{12}))\.(\d+)of(\d+)")


class Output:
    """The folder that comes back. room: MiB that may come back in all."""

    def __init__(self, folder: Path, room: float) -> None:
        self.folder, self.room, self._files = folder, int(room * 2**20) - RECORDS_ROOM, dict[str, Path | bytes]()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"--out {folder}: there are files in it already; give a new or an empty folder")

    def keep(self, name: str, content: Path | bytes) -> None:
        """Let the records have a file. What lies at a path is read whenever the records are written."""
        self._files[name] = content

    def save(self) -> None:
        """Write the records."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(self._files.items()):
                if isinstance(content, bytes):
                    archive.writestr(name, content)
                elif content.is_file():
                    archive.writestr(name, content.read_bytes())
        write_bytes_whole(self.folder / RECORDS, packed.getvalue())

    def save_model(self, model: Path, step: int) -> str:
        """Write the folder of a published model in parts, in the place of those of an earlier step. Returns what was done."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path in sorted(model.iterdir()):
                archive.add(path, path.name)
        data = packed.getvalue()
        if len(data) > self.room:
            return (f"weights of step {step} have {len(data) / 1e6:.1f} MB and stay here, because --bring leaves room for "
                    f"{self.room / 1e6:.1f} MB of them")
        stem, count = f"model-{step:07d}-{hashlib.sha256(data).hexdigest()[:12]}", -(-len(data) // PART)
        before = parts_in(self.folder)
        for number in range(count):
            write_bytes_whole(self.folder / f"{stem}.{number + 1}of{count}", data[number * PART:(number + 1) * PART])
        for path in before:
            if not path.name.startswith(stem):
                path.unlink()
        return f"weights of step {step} are in {count} part{'s' if count > 1 else ''}, {len(data) / 1e6:.1f} MB"


def parts_in(folder: Path) -> list[Path]:
    """All parts of weights in a folder."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def join(folder: Path, target: Path) -> str:
    """Put the weights in a folder together again, as the model ``target``. Of several complete sets the newest is taken.
    Returns what was done. UserError if parts are missing or damaged.
    """
    from stlm.train.checkpoint import open_checkpoint  # takes seconds, because it imports torch

    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the one that came back")
    if target.exists():
        raise UserError(f"{target}: this exists already; choose another name with --to")
    sets: dict[str, list[Path]] = {}
    for path in parts_in(folder):
        sets.setdefault(NAME.fullmatch(path.name)[1], []).append(path)  # type: ignore[index]
    if not sets:
        raise UserError(f"{folder}: no weights are in it (files named model-STEP-SUM.1of2); {RECORDS} says why, if it is there")
    faults = []
    for stem, parts in sorted(sets.items(), reverse=True):
        try:
            data = _whole(stem, parts)
        except UserError as error:
            faults.append(error)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as scratch:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(Path(scratch, "model"), filter="data")
            step = open_checkpoint(Path(scratch, "model")).counters["step"]
            Path(scratch, "model").rename(target)
        return f"{target}: the weights of step {step:,}, whole"
    raise faults[0]


def _whole(stem: str, parts: list[Path]) -> bytes:
    """The tar file of one set of parts."""
    found = {int(match[4]): path for path in parts if (match := NAME.fullmatch(path.name))}
    count = int(NAME.fullmatch(parts[0].name)[5])  # type: ignore[index]
    if missing := [number for number in range(1, count + 1) if number not in found]:
        raise UserError(f"{parts[0].parent}: part {missing[0]} of {count} of {stem} is missing; copy it here too")
    data = b"".join(found[number].read_bytes() for number in range(1, count + 1))
    if hashlib.sha256(data).hexdigest()[:12] != stem.rpartition("-")[2]:
        raise UserError(f"{parts[0].parent}: the parts of {stem} are damaged, or of different sets; copy them again")
    return data
