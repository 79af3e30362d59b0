"""Checkpoints are whole or not there; damaged and foreign ones are refused with a line that helps."""

from __future__ import annotations

import errno
import json
import shutil

import pytest
import torch

from stlm.errors import UserError
from stlm.train import checkpoint, folder
from stlm.train.checkpoint import list_checkpoints, open_checkpoint
from stlm.train.folder import find_checkpoint
from tests.train.tiny import tiny_trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run. Nothing is written to it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    tiny_trainer(folder, steps=8).run()
    return folder


@pytest.fixture
def saved(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return list_checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "config.json", "ema.safetensors"])
@pytest.mark.parametrize("fault", ["cut", "flipped", "missing"])
def test_damage_is_found(saved, name, fault):
    path = saved[-1] / name
    data = bytearray(path.read_bytes())
    if fault == "missing":
        path.unlink()
    else:
        if fault == "flipped":
            data[len(data) // 2] ^= 1
        path.write_bytes(data[:-3] if fault == "cut" else data)
    with pytest.raises(UserError, match=f"{name}: damaged or missing; delete step_0000008 to continue from the checkpoint"):
        open_checkpoint(saved[-1])
    open_checkpoint(saved[-2])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}'])
def test_foreign_records(saved, text):
    (saved[-1] / "trainer.json").write_text(text)
    with pytest.raises(UserError, match="not a readable JSON record|written by another program") as caught:
        open_checkpoint(saved[-1])
    assert "\n" not in str(caught.value)


def test_weights_of_another_model(saved):
    """A checkpoint whose description and weights don't belong together, with sums that agree."""
    config = json.loads((saved[-1] / "config.json").read_text())
    config["model"]["dim"] = 32
    (saved[-1] / "config.json").write_text(json.dumps(config))
    counters = json.loads((saved[-1] / "trainer.json").read_text())
    counters["sha256"]["config.json"] = checkpoint.sha256(saved[-1] / "config.json")
    (saved[-1] / "trainer.json").write_text(json.dumps(counters))
    with pytest.raises(UserError, match="these weights are not those of the model") as caught:
        open_checkpoint(saved[-1]).build_model()
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_run(saved):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("code from a checkpoint was run",))
    torch.save({"optimizers": [Evil()]}, saved[-1] / "optimizer.pt")
    counters = json.loads((saved[-1] / "trainer.json").read_text())
    counters["sha256"]["optimizer.pt"] = checkpoint.sha256(saved[-1] / "optimizer.pt")
    (saved[-1] / "trainer.json").write_text(json.dumps(counters))
    with pytest.raises(UserError, match="optimizer.pt"):
        open_checkpoint(saved[-1]).optimizer()


@pytest.mark.parametrize("place", ["safetensors.torch.save_model", "torch.save"])
def test_a_full_disk_costs_nothing(tmp_path, monkeypatch, place):
    trainer = tiny_trainer(tmp_path / "run", steps=8)

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")
    trainer.advance()
    trainer.save()
    monkeypatch.setattr(place, full)
    trainer.advance()
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); step_0000001 is the last good one; "
                                        r"free some space and continue with --resume"):
        trainer.save()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_0000001"]


def test_metrics_on_a_full_disk(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.folder.metrics.symlink_to("/dev/full")
    with pytest.raises(UserError, match="cannot be written .* free some space and continue with --resume"):
        trainer.log({"train/loss": 1.0})


def test_runs_are_found_by_name_folder_and_checkpoint(saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder, "SHIPPED", tmp_path / "nothing shipped")
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "mine")
    names = ["mine", "runs/mine", str(tmp_path / "runs" / "mine"), "runs/mine/checkpoints/step_0000008"]
    assert {find_checkpoint(name).counters["step"] for name in names} == {8}
    assert find_checkpoint("runs/mine/checkpoints/step_0000004").counters["step"] == 4
    with pytest.raises(UserError, match="there is no run 'mien' \\(did you mean 'mine'\\?\\); the runs here are mine"):
        find_checkpoint("mien")
    with pytest.raises(UserError, match="neither a run nor a checkpoint"):
        find_checkpoint("runs")
