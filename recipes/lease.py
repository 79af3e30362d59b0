"""Minutes on a borrowed GPU where nothing can be installed: pack here, run there, join here (docs/gpu.md).

    python recipes/lease.py pack --to FOLDER --data TEXT,TEXT
    python recipes/lease.py run --out FOLDER --minutes 9.5 --train 10m [flags of stlm train]
    python recipes/lease.py join FOLDER --to models/NAME

pack: all that the machine needs in one folder: the source code, as much of the text as fits, benchmarks. run: measures how fast
training is, trains by the clock, scores, and keeps the records and the weights in FOLDER, from the first minute on. join: puts
the weights together again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

STARTED = time.monotonic()
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "recipes"), str(ROOT / "src"), str(ROOT / "packages")]


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command, and the flags that are for ``stlm train``."""
    parser = argparse.ArgumentParser(prog="python recipes/lease.py", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    pack = verbs.add_parser("pack", help="make the folder to copy to the machine", allow_abbrev=False)
    pack.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new folder")
    pack.add_argument("--data", required=True, metavar="TEXT,TEXT", help="texts, as for stlm train --data")
    pack.add_argument("--field", default="text", help="field of jsonl and parquet files that holds the text")
    pack.add_argument("--limit", type=float, default=64.0, help="MB that the folder may have (default: 64)")
    pack.add_argument("--packages", nargs="*", default=[], metavar="NAME", help="Python packages that the machine lacks")
    pack.add_argument("--python", default="3.12", metavar="VERSION", help="Python of the machine (default: 3.12)")
    pack.add_argument("--seed", type=int, default=0, help="draws which documents go along (default: 0)")
    run = verbs.add_parser("run", help="measure, train, score and bring back, by the clock", allow_abbrev=False)
    run.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where everything that comes back is written")
    run.add_argument("--minutes", type=float, default=9.5, help="minutes for everything (default: 9.5)")
    run.add_argument("--measure", default="10m,50m,100m", metavar="PRESETS", help="presets or TOML files to time, or none")
    run.add_argument("--train", default="10m", metavar="PRESET", help="a preset or TOML file to train, or none")
    run.add_argument("--data", metavar="TEXT,TEXT", help="texts (default: those of the packed folder, or world)")
    run.add_argument("--bring", type=float, default=64.0, metavar="MIB",
                     help="MiB that may come back; larger weights stay (default: 64)")
    join = verbs.add_parser("join", help="put the weights together that came back", allow_abbrev=False)
    join.add_argument("folder", type=Path, metavar="FOLDER", help="the folder that came back")
    join.add_argument("--to", type=Path, required=True, metavar="models/NAME", help="the model's folder")
    given, rest = parser.parse_known_args(arguments)
    if rest and given.verb != "run":
        parser.error(f"{given.verb} doesn't take {rest[0]}")
    return given, rest


def main(arguments: list[str]) -> int:
    given, flags = parse(arguments)
    from stlm.config.words import split_list
    from stlm.errors import UserError

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        if given.verb == "pack":
            from leasing.pack import pack
            pack(given.to, split_list(given.data), given.field, given.limit, given.packages, given.python, given.seed, say)
        elif given.verb == "run":
            from leasing.run import Lease
            measured, trained = ([] if given.measure == "none" else split_list(given.measure),
                                 None if given.train == "none" else given.train)
            return Lease(given.out, given.minutes, measured, trained, given.data, given.bring, flags, STARTED).run()
        else:
            from leasing.output import join
            say(join(given.folder, given.to))
    except UserError as error:
        print(f"lease: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that what runs beside is ended too
    sys.exit(main(sys.argv[1:]))
