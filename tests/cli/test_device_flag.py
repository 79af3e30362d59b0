"""``--device`` of the verbs that run models: what is refused, and when."""

import pytest
import torch
from tests.cli.conftest import stlm

from stlm.errors import UserError
from stlm.evaluate.huggingface import HuggingFaceScorer

VERBS = {"train": ["train", "demo", "--data", "no-such-text"], "generate": ["generate", "no-such-run", "Once"],
         "eval": ["eval", "no-such-run", "--text", "no-such-text"], "compare": ["compare", "recipe.py"]}
RECIPE = """
from stlm.compare.recipe import Recipe
RECIPE = Recipe(question="?", rule="!", equal="steps", amount=1, arms={"a": "demo", "b": "demo --seed 1"}, baseline="a",
                seeds=(0,))
"""


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.py").write_text(RECIPE)


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, as PyTorch tells it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("device", "message"), [
    ("tpu", "--device tpu: it has to be auto, cpu, cuda, cuda:N or mps"), ("cuda:", "--device cuda:: it has to be auto, "),
    ("CPU", "--device CPU: it has to be auto, "), ("cuda:-1", "--device cuda:-1: it has to be auto, "),
    ("cuda:1000", "--device cuda:1000: it has to be auto, "), ("", "--device: a value has to follow"),
    ("cuda", "--device cuda: PyTorch sees no NVIDIA or AMD GPU here"), ("cuda:0", "--device cuda:0: PyTorch sees no NVIDIA"),
    ("mps", "--device mps: PyTorch sees no Apple GPU here")])
def test_a_device_that_is_not_there(verb, device, message, capsys, monkeypatch):
    """It is said in one line, before a text or a run is opened."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    status, out, err = stlm(capsys, *VERBS[verb], f"--device={device}")
    assert (status, out) == (2, "") and err.startswith(f"stlm: {message}") and err.count("\n") == 1


@pytest.mark.usefixtures("two_gpus", "trained")
@pytest.mark.parametrize("words", [["train", "demo"], ["generate", "mine", "Once"], ["eval", "mine"],
                                   ["eval", "hf:no-such-model"]])
def test_the_device_that_is_asked_for_is_picked(words, capsys, monkeypatch):
    def picked(wanted: str, *others: object) -> None:
        raise UserError(f"picked {wanted}")

    for place in ("stlm.train.device", "stlm.cli.train"):
        monkeypatch.setattr(f"{place}.pick_device", picked)
    monkeypatch.setattr(HuggingFaceScorer, "load", lambda name, device: picked(device))
    assert stlm(capsys, *words, "--device", "cuda:1")[2] == "stlm: picked cuda:1\n"
    assert stlm(capsys, *words)[2] == "stlm: picked auto\n"


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("verb", VERBS)
def test_a_gpu_that_is_not_there(verb, capsys):
    status, _, err = stlm(capsys, *VERBS[verb], "--device", "cuda:2")
    assert status == 2 and err == "stlm: --device cuda:2: there are 2 GPUs, cuda:0 and cuda:1\n"


@pytest.mark.parametrize("verb", VERBS)
def test_the_flag_is_in_the_help_and_suggested(verb, capsys):
    assert "--device NAME" in stlm(capsys, verb, "--help")[1]
    assert "did you mean '--device'" in stlm(capsys, *VERBS[verb], "--devise", "cpu")[2]


@pytest.mark.parametrize("words", [["patches", "no-such-run", "text"], ["zip", "no-such-run", "x", "-o", "y"],
                                   ["unzip", "no-such-run", "x", "-o", "y"]])
def test_verbs_without_the_flag(words, capsys):
    assert "there is no flag --device" in stlm(capsys, *words, "--device", "cpu")[2]


def test_a_clusters_devices_are_not_looked_for_here(capsys):
    """Where runs are submitted, there may be no GPU."""
    said = stlm(capsys, *VERBS["compare"], "--cluster", "none", "--device", "cuda")[2]
    assert "--cluster none" in said and "GPU" not in said
