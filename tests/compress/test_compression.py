"""Every kind of compression: what is stored and loaded scores as what was compressed, and damage is found."""

from __future__ import annotations

import pytest
import torch
from tests.train.tiny import tiny_trainer

from stlm.compress import write_compressed
from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.model.compression import CompressionConfig
from stlm.train.checkpoint import Record
from stlm.train.folder import find_checkpoint

SPENT = {"step": 1, "spent": 1.0, "n_bytes": 1, "flops": 1.0}
ROWS = torch.tensor([[256, *b"The cat sat on mat 3, and the dog lay by door 7."]])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("compressed") / "run"
    tiny_trainer(path, steps=6).run()
    return find_checkpoint(str(path))


@pytest.mark.parametrize("kind", kinds(CompressionConfig))
def test_what_is_stored_is_what_is_loaded(kind, run, tmp_path):
    compression = decode(Record, {**SPENT, "compression": kind}).compression
    size = write_compressed(run, tmp_path / "small", compression)
    assert size == (tmp_path / "small" / "model.safetensors").stat().st_size
    found = find_checkpoint(str(tmp_path / "small"))
    assert found.compression == compression
    direct = run.build_model()
    compression.compress(direct)
    loaded = found.build_model()
    with torch.no_grad():
        assert torch.equal(loaded(Inputs(ROWS)).logits, found.build_model()(Inputs(ROWS)).logits)
        torch.testing.assert_close(loaded(Inputs(ROWS)).logits, direct.float()(Inputs(ROWS)).logits)
    with pytest.raises(UserError, match="this model exists already"):
        write_compressed(run, tmp_path / "small", compression)


@pytest.mark.parametrize("kind", kinds(CompressionConfig))
def test_damage_and_foreign_kinds(kind, run, tmp_path):
    write_compressed(run, tmp_path / "small", decode(Record, {**SPENT, "compression": kind}).compression)
    path = tmp_path / "small" / "trainer.json"
    text = path.read_text()
    path.write_text(text.replace(f'"kind": "{kind}"', '"kind": "zipped"'))
    with pytest.raises(UserError, match="there is no kind 'zipped'"):
        find_checkpoint(str(tmp_path / "small"))
    path.write_text(text)
    weights = tmp_path / "small" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged or missing"):
        find_checkpoint(str(tmp_path / "small"))
