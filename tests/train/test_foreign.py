"""Records and weights of other versions: one line that helps, never a traceback."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import safetensors.torch
import torch
from matplotlib import pyplot

from stlm.config.files import read_json
from stlm.errors import UserError
from stlm.report.run_page import write_report
from stlm.train.checkpoint import CONFIG, MODEL, TRAINER, list_checkpoints, open_checkpoint, sha256
from stlm.train.folder import RunFolder, find_checkpoint, read_lines, read_metrics
from tests.train.tiny import tiny_trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run. Nothing is written to it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    tiny_trainer(folder, steps=4, checkpoint_every=2).run()
    return folder


@pytest.fixture
def step(finished, tmp_path):
    """Its last checkpoint, in a copy."""
    shutil.copytree(finished, tmp_path / "run")
    return list_checkpoints(tmp_path / "run" / "checkpoints")[-1]


def change(path, **fields):
    """Change fields of a checkpoint's file, and make its sum right again. ... deletes a field."""
    record = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in record.items() if value is not ...}))
    mend(path.parent)


def mend(folder):
    record = json.loads((folder / TRAINER).read_text())
    if isinstance(record.get("sha256"), dict):
        record["sha256"] = {name: sha256(folder / name) if (folder / name).is_file() else value
                            for name, value in record["sha256"].items()}
        (folder / TRAINER).write_text(json.dumps(record))


def refused(step, *words):
    with pytest.raises(UserError) as caught:
        open_checkpoint(step).build_model()
    said = str(caught.value)
    assert "\n" not in said and all(word in said for word in words), said


@pytest.mark.parametrize("sums", [..., None, [], "abc", {}, {"model.safetensors": "0"}, {"config.json": "0"}], ids=str)
def test_sums_that_are_missing(step, sums):
    change(step / TRAINER, sha256=sums)
    refused(step, "trainer.json: the sums of config.json and model.safetensors are missing", "another version")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "", ".", "a/b", "../trainer.json"])
def test_sums_of_files_elsewhere(step, name):
    sums = json.loads((step / TRAINER).read_text())["sha256"]
    change(step / TRAINER, sha256={**sums, name: "0"})
    refused(step, "trainer.json", "is no file of a checkpoint")


@pytest.mark.parametrize("value", [3, None, ["0"], {}, "x" * 64])
def test_sums_that_are_none(step, value):
    sums = json.loads((step / TRAINER).read_text())["sha256"]
    (step / TRAINER).write_text(json.dumps({**json.loads((step / TRAINER).read_text()), "sha256": {**sums, MODEL: value}}))
    refused(step, "model.safetensors: damaged or missing")


def test_a_record_with_nothing_but_its_format(step):
    (step / TRAINER).write_text(json.dumps({"format": "stlm checkpoint 3"}))
    refused(step, "another version of stlm has written it")


@pytest.mark.parametrize("fields", [
    {"step": "four"}, {"step": -1}, {"step": 2.5}, {"step": ...}, {"step": True}, {"step": 10**30}, {"spent": -0.5},
    {"spent": None}, {"spent": 10**400}, {"n_bytes": [1]}, {"n_bytes": ...}, {"flops": "many"}, {"progress": 1.5},
    {"progress": "half"}, {"rows": -4}, {"flops_per_byte": -1}, {"corpus": 3}, {"compression": {"kind": "ternary-9"}},
    {"compression": 4},
    {"compression": {"kind": ["publish"]}}, {"compression": {"kind": "publish", "bits": 4}}], ids=str)
def test_counters_of_other_types(step, fields):
    change(step / TRAINER, **fields)
    refused(step, "trainer.json", next(iter(fields)), "another version of stlm has written it")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_counters_that_are_no_numbers(step, number):
    text = (step / TRAINER).read_text().replace('"progress": 1.0', f'"progress": {number}')
    assert number in text
    (step / TRAINER).write_text(text)
    refused(step, "trainer.json: not a readable JSON record", f"{number} is not a finite number")


def test_counters_of_a_newer_version_are_ignored(step):
    change(step / TRAINER, energy=3.5, tokens={"train": 4})
    assert open_checkpoint(step).counters["step"] == 4


@pytest.mark.parametrize(("table", "fields"), [
    ("train", {"dropout": 0.0}), ("train", {"batch_size": "four"}), ("model", {"layers": None}), ("optim", {"kind": "lion"}),
    ("optim", {"kind": 3}), ("data", {"tokenizer": {"kind": "bytes", "merges": 3}}), ("data", {"megabytes": 10**400}),
    ("model", {"trunk": []}), ("train", {"tasks": "blimp"})])
def test_descriptions_of_another_version(step, table, fields):
    config = json.loads((step / CONFIG).read_text())
    change(step / CONFIG, **{table: {**config[table], **fields}})
    refused(step, f"config.json.{table}", next(iter(fields)), "another version of stlm has written it")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"NaN", b'{"a": 1e999}', b"\0" * 8])
def test_what_is_no_record(step, content):
    for name in (TRAINER, CONFIG):
        (step / name).write_bytes(content)
        mend(step) if name == CONFIG else None
        with pytest.raises(UserError, match="not a readable JSON record|written by another program|expected a table") as caught:
            open_checkpoint(step)
        assert "\n" not in str(caught.value)
        shutil.copy(step.parent / "step_0000002" / TRAINER, step)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to("loop.json")
    for name in ("pipe", "folder", "loop"):
        with pytest.raises(UserError, match="not a file|no such file|not a readable"):
            read_json(tmp_path / f"{name}.json")


# --- weights


def tensors(step):
    return safetensors.torch.load_file(step / MODEL)


def spoil(step, found):
    safetensors.torch.save_file({name: value.contiguous() for name, value in found.items()}, step / MODEL)
    mend(step)
    (step / "ema.safetensors").unlink()
    record = json.loads((step / TRAINER).read_text())
    del record["sha256"]["ema.safetensors"]
    (step / TRAINER).write_text(json.dumps(record))


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "int", "bool", "nan", "inf", "renamed", "empty"])
def test_weights_of_another_kind(step, fault):
    found = tensors(step)
    table = found["table"]
    bad = {"shape": table[:-1], "int": table.to(torch.int8), "bool": table > 0, "empty": table[:0],
           "nan": torch.full_like(table, torch.nan), "inf": torch.full_like(table, torch.inf)}
    if fault in bad:
        found["table"] = bad[fault]
    elif fault == "extra":
        found["other"] = table.clone()
    else:
        del found["table"]
        found |= {"tables": table} if fault == "renamed" else {}
    spoil(step, found)
    refused(step, "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_in_another_precision_are_read(step, dtype):
    spoil(step, {name: value.to(dtype) for name, value in tensors(step).items()})
    assert open_checkpoint(step).build_model().table.dtype == torch.float32


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**31, 2**63, 2**64 - 1])
def test_headers_that_lie(step, length):
    data = (step / "ema.safetensors").read_bytes()
    (step / "ema.safetensors").write_bytes(length.to_bytes(8, "little") + data[8:])
    mend(step)
    refused(step, "ema.safetensors: these weights are not those of the model")


@pytest.mark.parametrize("fields", [{"dim": 2**30}, {"dim": 1 << 17}, {"local_dim": 2**22}], ids=str)
def test_a_description_far_larger_than_its_weights(step, fields):
    """No memory is asked for."""
    config = json.loads((step / CONFIG).read_text())
    change(step / CONFIG, model={**config["model"], **fields})
    refused(step, "")


def test_averaged_weights_that_do_not_belong(step):
    """A file without a sum isn't part of the checkpoint."""
    expected = open_checkpoint(step.parent / "step_0000002").build_model()
    other = step.parent / "step_0000002"
    shutil.copy(step / "ema.safetensors", other / "ema.safetensors")
    refused(other, "ema.safetensors: damaged or missing")
    record = json.loads((other / TRAINER).read_text())
    del record["sha256"]["ema.safetensors"]
    (other / TRAINER).write_text(json.dumps(record))
    found = open_checkpoint(other).build_model()
    assert not torch.equal(found.table, expected.table)
    assert torch.equal(found.table, tensors(other)["table"])


# --- records of a run


LINES = b'{"step": 1, "bytes": 1, "seconds": 1, "flops": 1, "train/bits_per_byte": 2}\n'


@pytest.mark.parametrize("line", [b"3", b"null", b'"step"', b"[1]", b"{}", b'{"step": "one"}', b'{"step": 2.5}', b"\xff\xff",
                                  b'{"step": NaN}', b"[" * 100_000, b'{"step": 2, "bytes": 1, "seconds": 1, "flops": "x"}',
                                  b'{"step": 2, "bytes": 1, "seconds": null, "flops": 1}', b'{"step": 2}'])
def test_lines_that_are_none(finished, tmp_path, monkeypatch, line):
    monkeypatch.setattr("stlm.report.run_page.svg", lambda figure: pyplot.close(figure) or "")  # the slowest part
    shutil.copytree(finished, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    folder.metrics.write_bytes(LINES + line + b"\n" + LINES.replace(b'"step": 1', b'"step": 3'))
    folder.samples.write_bytes(b'{"step": 1, "text": "It rained."}\n' + line + b'\n{"step": 4, "text": 4}\n')
    assert [record["step"] for record in read_metrics(folder.metrics)] == [1, 3]
    write_report(folder)
    assert "It rained." in folder.report.read_text()
    folder.rewind(1)
    assert [record for record in read_lines(folder.metrics) if record["step"] != 1] == []


@pytest.mark.parametrize("results", [{}, [], {"baselines": {}}, {"baselines": 3}, {"entropy": None}, None, "done"], ids=str)
def test_results_of_another_version(finished, tmp_path, results):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match="another version of stlm|not a record of stlm") as caught:
        write_report(RunFolder(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "report.html").exists()


def test_checkpoints_are_in_the_order_of_their_steps(step):
    for name in ("step_9999999", "step_10000000", "step_", "step_1x", "step_-1", "other"):
        (step.parent / name).mkdir()
    assert [path.name for path in list_checkpoints(step.parent)] == ["step_0000002", "step_0000004", "step_9999999",
                                                                     "step_10000000"]


def test_a_newest_checkpoint_that_is_no_folder(step, tmp_path):
    (step.parent / "step_0000009").write_text("")
    with pytest.raises(UserError, match="not a checkpoint of stlm"):
        find_checkpoint(str(tmp_path / "run"))
