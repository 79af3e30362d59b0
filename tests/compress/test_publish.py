"""A published model is small, whole, used like a run, and can't be gone on with."""

from __future__ import annotations

import json

import pytest
import torch
from tests.train.tiny import tiny_config, tiny_trainer

from stlm.compress import publish, write_compressed
from stlm.errors import UserError
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
