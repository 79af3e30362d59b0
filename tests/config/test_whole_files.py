"""Files are written whole, into what is there, and JSON has no NaN."""

from __future__ import annotations

import json
import math
import os
import resource
import threading

import pytest

from stlm.config.writing import append_lines, check_folder, to_json, write_json, write_whole
from stlm.errors import UserError


@pytest.mark.parametrize(("value", "written"), [
    (math.nan, "null"), (-math.inf, "null"), ([1.5, math.inf], "[1.5, null]"), ([True, None, -0.0], "[true, null, -0.0]"),
    ({"a": {"b": (math.nan, 2)}}, '{"a": {"b": [null, 2]}}'),
    ({"NaN": "Infinity", "n": 10**30}, f'{{"NaN": "Infinity", "n": {10**30}}}')])
def test_json_has_no_nan(value, written):
    assert to_json(value) == written


def test_records_and_lines_have_none_either(tmp_path):
    write_json(tmp_path / "a.json", {"loss": math.nan})
    append_lines(tmp_path / "b.jsonl", [{"loss": math.inf}, {"loss": 1.0}])
    for line in (tmp_path / "a.json").read_text(), *(tmp_path / "b.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target").write_text("before")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "after")
    assert (tmp_path / "link").readlink().name == "target" and (tmp_path / "target").read_text() == "after"


def test_a_device_and_a_pipe_take_the_text(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    write_whole(tmp_path / "null", "gone")
    assert os.path.realpath(tmp_path / "null") == "/dev/null" and not list(tmp_path.glob(".writing*"))
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_whole(tmp_path / "pipe", "through")
    reader.join(5)
    assert read == ["through"] and (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["a" * 255, "\u00e4" * 120, " spaces and 'quotes' ", ".hidden"])
def test_any_name_that_fits(tmp_path, name):
    write_whole(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "old").write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserError, match=r"old: cannot be written \(File too large\)"):
            write_whole(tmp_path / "old", "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old": "before"}


def test_folders_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    check_folder(tmp_path / "new" / "below")
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "dangling" / "below"):
        with pytest.raises(UserError, match="is no folder"):
            check_folder(path)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # an administrator, who may write anywhere, has no closed folder
    with pytest.raises(UserError, match="may not be changed"):
        check_folder(tmp_path / "new" / "below")
