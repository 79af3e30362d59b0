"""Files and folders that the user names for results. They are looked at before the work, and nothing is replaced unasked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stlm.config.files import read_json
from stlm.config.writing import check_folder
from stlm.errors import UserError
from stlm.evaluate.results import FILE
from stlm.report.scores_page import PAGE

FORCE = "--force"  # the same flag in all verbs
REPLACE = f"choose another name, or replace it with {FORCE}"


def check_file(path: Path, force: bool, read: Path) -> None:
    """UserError if a result can't be written to the file ``path``, or if that would replace something unasked. Devices and
    pipes take what is written to them. read: the file that the result is made of.
    """
    if os.path.isdir(path):
        raise UserError(f"{path}: a folder is there; give the name of a file in it")
    if os.path.exists(path) and not os.path.isfile(path):
        mode = path.stat().st_mode
        if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)) or not os.access(path, os.W_OK):
            raise UserError(f"{path}: this device can't be written to; give the name of a file")
        return
    if os.path.exists(path) and path.samefile(read):
        raise UserError(f"{path}: this is the file that is read; choose another name")
    if os.path.lexists(path) and not force:
        raise UserError(f"{path}: {'a link' if path.is_symlink() else 'a file'} of that name exists already; {REPLACE}")
    parent = Path(os.path.realpath(path)).parent
    if not os.path.isdir(parent):
        raise UserError(f"{path}: cannot be written (there is no folder {parent})")
    check_folder(parent)


def check_scores(folder: Path, fingerprint: str, force: bool) -> None:
    """UserError if scores of a model can't be written to a folder that the user named, or if that would replace scores of other
    weights, or other files, unasked. fingerprint: of the model.
    """
    record = folder / FILE
    if record.exists():
        found = read_json(record)
        taken = isinstance(found, dict) and found.get("fingerprint", fingerprint) != fingerprint
        if taken and not force:
            raise UserError(f"{record}: these are scores of another model, or of this one before it was trained further; "
                            f"{REPLACE}")
        return
    others = [path for pattern in (PAGE, "samples_*.jsonl") for path in folder.glob(pattern)]
    if others and not force:
        raise UserError(f"{others[0]}: a file of that name exists already; {REPLACE}")
