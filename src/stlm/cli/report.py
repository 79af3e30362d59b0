"""``stlm report``."""

from __future__ import annotations

from pathlib import Path

from stlm.cli.parser import Parser
from stlm.errors import UserError
from stlm.report.run_page import write_report
from stlm.train.folder import RUNS, RunFolder


def run(arguments: list[str]) -> int:
    parser = Parser("report")
    parser.text("run")
    name = parser.parse_args(arguments).run
    folder = next((RunFolder(path) for path in (Path(name), RUNS / name) if RunFolder(path).exists), None)
    if folder is None:
        raise UserError(f"there is no run {name!r}; give the name of a folder in {RUNS}/")
    write_report(folder)
    print(folder.report)
    return 0
