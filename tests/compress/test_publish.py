"""A published model is small, whole, used like a run, and can't be gone on with."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from tests.train.tiny import tiny_config, tiny_trainer

from stlm.compress import publish, write_compressed
from stlm.errors import UserError
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import find_checkpoint


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = tiny_trainer(tmp_path / "runs" / "mine", steps=4)
    trainer.run()
    write_compressed(find_checkpoint("mine"), tmp_path / "models" / "small", publish.Config())
    return trainer


def test_it_is_the_averaged_model_in_half_the_size(published, tmp_path):
    found = find_checkpoint("small").build_model()
    for name, value in published.ema.state_dict().items():
        assert torch.equal(found.state_dict()[name], value.bfloat16().float()), name
    sizes = [(folder / "model.safetensors").stat().st_size for folder in
             (find_checkpoint("mine").folder, tmp_path / "models" / "small")]
    assert sizes[1] < 0.7 * sizes[0]
    assert {path.name for path in (tmp_path / "models" / "small").iterdir()} == {
        "config.json", "model.safetensors", "trainer.json"}


def test_no_paths_stay(published, tmp_path):
    config = json.loads((tmp_path / "models" / "small" / "config.json").read_text())
    assert config["data"]["source"] == "world" and str(tmp_path) not in json.dumps(config)


def test_a_run_is_initialised_from_it_but_does_not_resume_it(published, tmp_path):
    run = tiny_trainer(tmp_path / "runs" / "more", config=tiny_config(steps=2, init_from="small"))
    assert torch.equal(run.model.table, find_checkpoint("small").build_model().table)
    with pytest.raises(UserError, match="published without the state of its optimizer"):
        find_checkpoint("small").optimizer()
    with pytest.raises(UserError, match="this model exists already"):
        write_compressed(find_checkpoint("mine"), tmp_path / "models" / "small", publish.Config())


def test_damage_is_found(published, tmp_path):
    path = tmp_path / "models" / "small" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="damaged or missing"):
        find_checkpoint("small")


def publish_to(folder: Path, force: bool = False) -> None:
    write_compressed(find_checkpoint("mine"), folder, publish.Config(), force)


def clone(folder: Path) -> Path:
    """A folder like a clone of a model's repository."""
    for name in (".git/HEAD", ".gitattributes", "README.md", "pictures/a.png", "onnx/config.json", "notes.txt", "loss.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"this is {name}")
    (folder / "link.md").symlink_to("README.md")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if (path.is_file()
            and path.name not in OWN) or ("onnx" in path.parts and path.is_file())}


OWN = ("config.json", "model.safetensors", "trainer.json")


def test_into_a_clone_of_a_repository(published, tmp_path):
    folder = clone(tmp_path / "clone")
    before = contents(folder)
    publish_to(folder)
    assert contents(folder) == before
    assert set(json.loads((folder / "trainer.json").read_text())["sha256"]) == {"config.json", "model.safetensors"}
    (folder / "README.md").write_text("changed")
    shutil.rmtree(folder / ".git")
    assert find_checkpoint(str(folder)).build_model() is not None


@pytest.mark.parametrize("name", [*OWN, "config.json link", "config.json folder"])
def test_files_of_others_are_replaced_only_when_asked(published, tmp_path, name):
    folder = clone(tmp_path / "clone")
    path = folder / name.split()[0]
    if name.endswith("link"):
        path.symlink_to("notes.txt")
    elif name.endswith("folder"):
        path.mkdir()
    else:
        path.write_text("{}")
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match="exists already; choose another name, or replace it with --force"):
        publish_to(folder)
    assert sorted(folder.rglob("*")) == before
    if name.endswith("folder"):
        with pytest.raises(UserError, match="cannot be written"):
            publish_to(folder, force=True)
    else:
        publish_to(folder, force=True)
        assert find_checkpoint(str(folder)).build_model() is not None
    assert (folder / "notes.txt").read_text() == "this is notes.txt"


@pytest.mark.parametrize("calls", range(1, 9))
def test_killed_at_any_step_and_published_again(published, tmp_path, monkeypatch, calls):
    """After each change of the folder, as if the process ended there."""
    folder, done = clone(tmp_path / "clone"), 0
    before = contents(folder)

    class Killed(BaseException):
        pass

    def counted(name):
        original = getattr(Path, name)

        def work(*arguments, **keywords):
            nonlocal done
            if done == calls:
                raise Killed
            done += 1
            return original(*arguments, **keywords)
        return work

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *about, **more: None)  # nothing is tidied up
        for name in ("mkdir", "write_text", "rename", "replace", "rmdir"):
            patch.setattr(Path, name, counted(name))
        try:
            publish_to(folder)
        except Killed:
            pass
        else:
            pytest.skip("it takes fewer steps")
    if (folder / "trainer.json").exists():
        find_checkpoint(str(folder)).build_model()
        return
    with pytest.raises(UserError, match="neither a run nor a checkpoint"):
        find_checkpoint(str(folder))
    publish_to(folder)
    find_checkpoint(str(folder)).build_model()
    assert contents(folder) == before and not list(folder.glob(".writing-*"))


def test_averaged_weights_of_another_model_in_the_folder_are_not_used(published, tmp_path):
    folder = clone(tmp_path / "clone")
    (folder / "ema.safetensors").write_text("of another model")
    publish_to(folder)
    assert find_checkpoint(str(folder)).build_model() is not None


def test_a_full_disk_leaves_no_folder(published, tmp_path, monkeypatch):
    def full(*about, **more):
        raise OSError(28, os.strerror(28))
    monkeypatch.setattr("safetensors.torch.save_model", full)
    with pytest.raises(UserError, match="the model cannot be written .No space left on device"):
        publish_to(tmp_path / "models" / "other")
    assert not (tmp_path / "models" / "other").exists()


def test_weights_that_do_not_fit_the_form(published, tmp_path, monkeypatch):
    load = Checkpoint.load_model

    def with_a_large_one(checkpoint, model, averaged=False):
        load(checkpoint, model, averaged)
        model.table.data[0, 0] = 3.4e38  # the largest number of bfloat16 is smaller
    monkeypatch.setattr(Checkpoint, "load_model", with_a_large_one)
    with pytest.raises(UserError, match="too large for this kind of compression"):
        publish_to(tmp_path / "models" / "other")
    assert not (tmp_path / "models" / "other").exists()
