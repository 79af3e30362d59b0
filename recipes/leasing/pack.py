"""A folder with all that a bare machine needs: the source code, a share of the text, benchmarks, and missing packages."""

from __future__ import annotations

import json
import lzma
import math
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from leasing import BENCHMARKS, PACKAGES, ROOT, TASKS, TEXT
from stlm.data.listing import TRAIN, VALIDATION
from stlm.data.sources import Source, open_source
from stlm.errors import UserError

CODE = ("src/stlm", "recipes/lease.py", "recipes/leasing")
KEPT = ("*.pyc", "__pycache__")
# for text these do 0.2 % better than the preset's own
PACKING = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0, "dict_size": 64 << 20}]
WORST = 2  # a document is taken to fit where a part of so many of its bytes does: text packs better than that
LAG = 1 << 16  # bytes that the compressor may hold back
LEAST = 1e5  # bytes for training text
TOLD = 20_000_000  # bytes between lines about what was read
SYSTEMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)] + ["manylinux2014_x86_64"]

Say = Callable[[str], None]


def pack(folder: Path, sources: Sequence[str], field: str, limit: float, packages: Sequence[str], python: str, seed: int,
         say: Say) -> None:
    """Write the folder. limit: MB (10^6 bytes) of everything. packages: names, as pip has them, of packages that the machine
    lacks. python: the machine's version of it.

    All held-out text goes along, and as much of the training text as fits. Each source gets its share of the room by its size;
    which documents, is drawn by ``seed``. UserError if there is no room for training text.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--to {folder}: there are files in it already; give a new or an empty folder")
    names = [Path(source).name for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--data: two texts are named {twice[0]}; rename one of them")
    texts = {name: open_source(source, field=field, seed=seed) for name, source in zip(names, sources, strict=True)}
    try:
        _copy_code(folder)
        say(f"source code: {_megabytes(folder):.1f} MB")
        for name in packages:
            say(_fetch(name, folder / PACKAGES.name, python))
        say(_copy_benchmarks(folder / BENCHMARKS.name))
        _pack_text(folder, texts, limit, seed, say)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was new or empty
        raise
    say(f"{folder}: {_megabytes(folder):.1f} of {limit:g} MB. Copy it to the machine; there, in this folder:\n"
        "  python recipes/lease.py run --minutes 9.5 --out OUTPUT --train 10m")


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _copy_code(folder: Path) -> None:
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*KEPT))
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    # stlm isn't installed there, and the records of a run ask for its version
    about = folder / PACKAGES.name / f"stlm-{version}.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    about.write_text(f"Metadata-Version: 2.1\nName: stlm\nVersion: {version}\n")


def _fetch(name: str, folder: Path, python: str) -> str:
    """Take the wheel of a package along; it is unpacked there. Returns what was done. A package that can't be had is left out.
    """
    with tempfile.TemporaryDirectory() as scratch:
        systems = [word for system in SYSTEMS for word in ("--platform", system)]
        words = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", python,
                 "--implementation", "cp", *systems, "--dest", scratch, name]
        try:
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, check=False)
            fault = (done.stderr.strip().splitlines() or ["pip failed"])[-1] if done.returncode else ""
        except subprocess.TimeoutExpired:
            fault = "pip took over two minutes"
        if fault:
            return f"package {name}: left out ({fault})"
        wheel = next(Path(scratch).glob("*.whl"))
        shutil.copy2(wheel, folder / wheel.name)
        return f"package {wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB"


def _copy_benchmarks(folder: Path) -> str:
    """The items of the benchmarks that are scored, from ``$STLM_DATA/eval``."""
    from stlm.evaluate.item_task import DatasetTask
    from stlm.evaluate.records import load
    from stlm.evaluate.task import find

    folder.mkdir()
    sizes = []
    for name in TASKS:
        task = find(name)
        assert isinstance(task, DatasetTask)
        try:
            records = load(task.place)[0]
        except UserError as error:
            return f"benchmarks: left out ({error})"
        packed, _, _ = _compressed(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)
        (folder / f"{task.place.file}.jsonl.xz").write_bytes(packed)
        sizes.append(f"{name} {len(packed) / 1e6:.2f} MB")
    return f"benchmarks: {', '.join(sizes)}"


def _pack_text(folder: Path, texts: dict[str, Source], limit: float, seed: int, say: Say) -> None:
    train = {}
    for name, text in texts.items():
        held = list(text.documents(VALIDATION))
        _write(folder, name, VALIDATION, _compressed(map(_line, held))[0])
        train[name] = list(text.documents(TRAIN))
        say(f"{name}: {sum(map(len, held)) / 1e6:.2f} MB held out, {sum(map(len, train[name])) / 1e6:.1f} MB to choose from")
    room, total = limit * 1e6 - 1e6 * _megabytes(folder), sum(len(text) for texts in train.values() for text in texts)
    if room < LEAST:
        raise UserError(f"--limit {limit:g}: without training text it is {_megabytes(folder):.1f} MB already; give more room, "
                        "or fewer texts")
    say(f"compressing text into {room / 1e6:.1f} MB; a core reads about 1 MB a second")

    def shrink(name: str) -> None:
        random.Random(f"{seed} {name}").shuffle(train[name])
        share = sum(map(len, train[name])) / total
        packed, taken, read = _compressed(map(_line, train[name]), share * room, lambda line: say(f"{name}: {line}"))
        _write(folder, name, TRAIN, packed)
        say(f"{name}: {taken:,} of {len(train[name]):,} documents, {read / 1e6:.1f} MB in {len(packed) / 1e6:.2f} MB")

    with ThreadPoolExecutor() as pool:  # the compressor lets other threads run
        list(pool.map(shrink, texts))


def _write(folder: Path, name: str, split: str, packed: bytes) -> None:
    path = folder / TEXT.name / name / f"{split}.jsonl.xz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed)


def _line(document: bytes) -> bytes:
    return json.dumps({"text": document.decode("utf-8")}, ensure_ascii=False).encode() + b"\n"


def _compressed(lines: Iterable[bytes], room: float = math.inf, told: Say = lambda line: None) -> tuple[bytes, int, int]:
    """Lines as an .xz file of at most ``room`` bytes, without those that don't fit any more; how many these are, and their
    bytes. told is called on the way.
    """
    packer, out, count, read = lzma.LZMACompressor(filters=PACKING), bytearray(), 0, 0
    for line in lines:
        if len(out) + len(line) / WORST > room - LAG:
            continue
        out += packer.compress(line)
        count, read = count + 1, read + len(line)
        if read // TOLD > (read - len(line)) // TOLD:
            told(f"{read / 1e6:.0f} MB read")
    return bytes(out + packer.flush()), count, read
