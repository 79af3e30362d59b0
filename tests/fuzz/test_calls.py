"""Any verb with any arguments: no traceback, no hang, nothing changed elsewhere, exit status 0, 2 or 130.

Arguments come from the verbs' real flags and the configs' real fields, with sensible and odd values; words are dropped, doubled
and swapped. What takes long is cut short behind all checks: nothing is trained, and only a few bytes are written.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stlm.cli import eval as eval_verb
from stlm.cli import generate as generate_verb
from stlm.cli import runs
from stlm.cli import train as train_verb
from stlm.cli.usage import VERBS, flags_of
from stlm.config.decode import decode
from stlm.config.help import Field, fields_of
from stlm.config.slot import kinds
from stlm.train.run_config import RunConfig
from tests.cli.conftest import TINY, make_small, train
from tests.fuzz.watch import call, examples

NUMBERS = ["nan", "inf", "-inf", "-1", "0", "1", "2", "3", "5", "0.5", "1e400", "1e300", "-1e-9", "2.5", "1_000", "0x10", "1e3",
           "\uff11", " 5", "1.", ".5", "-0", "7" * 30, "9" * 5000, str(2**64), str(2**63 - 1), str(2**31), "1000000000000"]
# no word names a place outside of the scratch folder, because commands write where they are told to
WORDS = ["", " ", ",", "world, ,", "a, b,", "[bold]", "[/INST]", "\x1b[31m", "\udcff", "x" * 300, "-", "--", "-x", "--help",
         "..", ".", "two\nlines", "na\u00efve", "\U0001f469\u200d\U0001f4bb", "e\u0301", "\u202eabc", "~no.one", "'",
         "a\0b", "hf:", "hf:no/one", "world", "true", "false", "none", "no.such", "stlm.cli", "x=y", "=", "mine", "runs/mine"]
RECIPE = b"from stlm.compare.recipe import Recipe\nRECIPE = Recipe('q', 'r', 'steps', 2, {'a': %s)\n"
FILES = {"notes.txt": b"The miller waited for the north wind. " * 400, "empty.txt": b"", "short.txt": b"too short",
         "data.bin": bytes(range(256)) * 40, "bad.toml": b"base = ", "odd [1].toml": TINY.encode(),
         "caf\udce9.txt": b"old words " * 900, "nan.toml": TINY.encode() + b"grad_clip = nan\n",
         "notes.jsonl": b'{"text": null}\n{"text": "words"}\n', "recipe.py": RECIPE % b"'tiny.toml'}, 'a'",
         "quote.py": RECIPE % b"'demo \"'}, 'a'", "seeds.py": RECIPE % b"'demo'}, 'a', seeds=2"}
RUNS = ["mine", "runs/mine", "runs", "nothing"]
POSITIONAL = {
    "train": [["tiny.toml", "odd [1].toml", "nan.toml", "bad.toml", "demo"]], "params": [["tiny.toml", "demo", *RUNS]],
    "generate": [RUNS, ["The river", *WORDS]], "report": [RUNS], "patches": [RUNS, ["The river", *WORDS]], "eval": [RUNS],
    "zip": [RUNS, ["empty.txt", "short.txt", "caf.txt"]], "unzip": [RUNS, [*FILES]], "publish": [RUNS, ["small", *WORDS]],
    "compare": [["recipe.py", "quote.py", "seeds.py", "tiny.toml"]],
    "check": [["stlm.model.pooling.mean", "stlm.model.patching.stride", "os"]]}
SHORT = 6  # bytes that are written


def all_fields() -> list[tuple[list[str], Field]]:
    """Every field of a run and of every kind, with the flags that choose the kind."""
    found: list[tuple[list[str], Field]] = [([], field) for field in fields_of(RunConfig())]
    for _, field in list(found):
        for kind in kinds(field.slot) if field.slot else []:
            change: Any = kind
            for name in reversed(field.path.split(".")):
                change = {name: change}
            chosen = decode(RunConfig, change, RunConfig(), check=False)
            found += [([field.flag, kind], inner) for inner in fields_of(chosen) if inner.path.startswith(f"{field.path}.")]
    return found


FIELDS = all_fields()
NUMBER, WORD = st.sampled_from(NUMBERS), st.sampled_from([*WORDS, *FILES])


@st.composite
def field_flags(draw: st.DrawFn) -> list[str]:
    chosen, field = draw(st.sampled_from(FIELDS))
    usual = [field.value.kind, *kinds(field.slot)] if field.slot else [str(field.value).lower()]
    value = draw(st.one_of(st.sampled_from(usual), NUMBER, WORD))
    return [*chosen, *draw(st.sampled_from([[field.flag, value], [f"{field.flag}={value}"], [field.flag]]))]


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    verb = draw(st.sampled_from([*VERBS, "train", "generate", "eval"]))
    words = [draw(st.sampled_from(choices)) for choices in POSITIONAL[verb]]
    for _ in range(draw(st.integers(0, 3))):
        if verb in ("train", "params", "check") and draw(st.booleans()):
            words += draw(field_flags())
        elif flags := [flag for flag in flags_of(verb) if flag not in ("--FIELD", "--model.FIELD")]:
            words += [draw(st.sampled_from(flags)), draw(st.one_of(NUMBER, WORD))]
    if verb in ("zip", "unzip") and draw(st.booleans()):
        words += ["-o", draw(st.sampled_from(["out", "empty.txt", "no/such/out", *WORDS]))]
    match draw(st.sampled_from(["as it is", "as it is", "drop", "double", "swap", "insert"])):
        case "drop" if words:
            words.pop(draw(st.integers(0, len(words) - 1)))
        case "double" if words:
            words += words[draw(st.integers(0, len(words) - 1)):]
        case "swap":
            words = draw(st.permutations(words))
        case "insert":
            words.insert(draw(st.integers(0, len(words))), draw(st.one_of(NUMBER, WORD)))
    return [verb, *words]


ENVIRONMENT = st.fixed_dictionaries({
    "COLUMNS": st.sampled_from(["1", "40", "80", "0", "wide"]), "NO_COLOR": st.sampled_from(["", "1"]),
    "TERM": st.sampled_from(["dumb", "xterm-256color"]), "FORCE_COLOR": st.sampled_from(["", "1"])})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a trained run and some files. Work behind the checks is cut short."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "tiny.toml").write_text(TINY)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    train(folder, "tiny.toml", "--name", "mine", "--train.steps", "2")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        cut_short(patch)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("STLM_DATA", raising=False)
        yield folder


def cut_short(patch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    def small_text(config: RunConfig, real: Any = train_verb.open_text) -> Any:
        small = min(config.data.megabytes, 0.05)
        return real(dataclasses.replace(config, data=dataclasses.replace(config.data, megabytes=small)))

    def briefly(real: Any) -> Any:
        return lambda model, tokenizer, prompt, max_bytes, *rest: real(model, tokenizer, prompt, min(max_bytes, SHORT), *rest)

    def few(real: Any = eval_verb.Evaluation, **context: Any) -> Any:
        return real(**{**context, "limit": min(context["limit"] or 2, 2)})

    patch.setattr(eval_verb, "Evaluation", few)
    for module in (train_verb, runs):
        patch.setattr(module, "open_text", small_text)
    for name in ("write", "write_speculating"):
        patch.setattr(generate_verb, name, briefly(getattr(generate_verb, name)))
    for name in ("stlm.cli.train.build_run", "stlm.compare.launch.carry_out", "stlm.cli.check.check",
                 "stlm.cli.report.write_report"):
        patch.setattr(name, stop)


@examples(4)
@given(words=calls(), environment=ENVIRONMENT, encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_any_call(place, words, environment, encoding):
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        folder = Path(scratch) / "here"
        shutil.copytree(place, folder)
        patch.setattr(sys, "path", list(sys.path))
        for name, value in environment.items():
            patch.setenv(name, value)
        outcome = call(words, folder, [place, Path(os.environ["HOME"])], encoding)
        assert not outcome.faults, (words, environment, encoding, *outcome.faults)
        assert words[0] == "generate" or environment["FORCE_COLOR"] or "\x1b" not in outcome.err + outcome.out, words
        assert outcome.status != 2 or "stlm: " in outcome.err or "usage:" in outcome.out, (words, outcome.err)
