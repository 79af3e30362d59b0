"""What the documents name exists: files, links, commands, flags, kinds. The examples in docs/parts.md work."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import pkgutil
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import stlm
from stlm.cli.usage import VERBS, verb_usage
from stlm.compare.recipe import load_recipe
from stlm.config.decode import decode, field_types
from stlm.config.slot import Slot, kinds, resolve, slot_of
from stlm.model import checks
from stlm.model.model_config import ModelConfig
from stlm.model.small import Letters
from stlm.train.checkpoint import open_checkpoint
from stlm.train.cli_args import configure, described
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig
from tests.conftest import small_model
from tests.markdown import anchors, blocks, links, spans
from tests.train.tiny import tiny_config, tiny_trainer

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/results.md", "docs/parts.md", "docs/gpu.md", "docs/scaling.md"]
LINKING = [*PAGES, "CHANGELOG.md", "docs/architecture.md", "docs/log.md", "models/10m-en/README.md"]
FOLDERS = ("benchmarks", "docs", "models", "recipes", "results", "src", "tests")
OTHERS = ("pip", "open", "xdg-open", "scp", ".")  # programs that are not ours
LEASE = runpy.run_path(str(ROOT / "recipes/lease.py"))
PARTS = (ROOT / "docs/parts.md").read_text(encoding="utf-8")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files of docs/parts.md, from which stlm is started."""
    for code in blocks(PARTS, "python"):
        path = tmp_path / code.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


# --- links and files

@pytest.mark.parametrize("page", LINKING)
def test_links_lead_somewhere(page):
    for link in links(read(page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), link


def words_of(page: str) -> list[str]:
    """Words in code: inline, and in commands."""
    return [word for code in [*spans(read(page)), *(shlex.join(words) for words in commands(page))] for word in code.split()]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    named = [word for word in words_of(page) if word.partition("/")[0] in FOLDERS and "/" in word]
    assert [word for word in named if not (ROOT / word).exists() and not re.search(r"\b[A-Z]{3,}\b", word)] == []


# --- commands and flags

def commands(page: str) -> list[list[str]]:
    """Commands in blocks and in sentences, as words; comments are left out."""
    text = read(page)
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines += [span for span in spans(text) if re.match(r"(stlm|make|python|pip|scp) ", span)]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_flags(words: list[str]) -> list[str]:
    """What describes the run: without its name and without what only prints or goes on."""
    while "--name" in words:
        place = words.index("--name")
        words = words[:place] + words[place + 2:]
    return [word for word in words if word not in ("--resume", "--help")]


def check_command(words: list[str]) -> None:
    """AssertionError or UserError where a command names what there isn't."""
    program, *rest = words
    if program == "make":
        assert re.search(rf"^{rest[0]}:", read("Makefile"), re.M)
    elif words[:2] == ["python", "recipes/lease.py"]:
        _, flags = LEASE["parse"](rest[1:])
        configure("10m", flags, "stlm train")
    elif program == "python":
        assert rest[0] == "-m" and importlib.util.find_spec(rest[1])
        if rest[1] == "benchmarks" and len(rest) > 2:
            assert (ROOT / "benchmarks" / f"{rest[2]}.py").exists()
    elif program == "stlm":
        check_verb(rest[0], rest[1:])
    elif program == "torchrun":
        assert rest[rest.index("-m") + 1] == "stlm"
        check_verb(rest[rest.index("-m") + 2], rest[rest.index("-m") + 3:])
    else:
        assert program in OTHERS


def check_verb(verb: str, rest: list[str]) -> None:
    assert verb in VERBS
    if verb in ("train", "params") and rest:
        preset = "10m" if rest[0].endswith(".toml") else rest[0]
        described([preset, *run_flags(rest[1:])])
    elif verb == "compare":
        assert any((place / rest[0]).is_file() for place in (ROOT, Path.cwd()))
    if verb != "train" and verb != "params":
        known = re.findall(r"(?<!\w)--?[a-z][\w-]*", verb_usage(verb))
        assert [word for word in rest if word.startswith("-") and word not in (*known, "--help")] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page, examples):
    found = commands(page)
    assert found
    for words in found:
        check_command(words)


def fields_of(cls: type, prefix: str = "--") -> Iterator[tuple[str, type[Slot] | None]]:
    """Every flag of a run, with the slot that it chooses a kind of, for all kinds."""
    for name, hint in field_types(cls).items():
        flag, slot = prefix + name.replace("_", "-"), slot_of(hint)
        if slot is not None or not dataclasses.is_dataclass(hint):
            yield flag, slot
        inside = [hint] if slot is None else [resolve(slot, kind, flag) for kind in true_kinds(slot)]
        for part in inside:
            if dataclasses.is_dataclass(part) and flag.count(".") < 4:
                yield from fields_of(part, f"{flag}.")


@functools.cache
def true_kinds(slot: type[Slot]) -> list[str]:
    """Modules of a slot's package that hold a kind; helpers may lie beside them."""
    return [kind for kind in kinds(slot) if hasattr(importlib.import_module(f"{slot.package}.{kind}"), "Config")]


@functools.cache
def flags_of_runs() -> dict[str, type[Slot] | None]:
    """The flags of a run, and the slot of those that name a kind."""
    return dict(fields_of(RunConfig))


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_sentences_exist(page):
    of_run = flags_of_runs()
    of_verbs = set(re.findall(r"--[a-z][\w.-]*", " ".join([*map(verb_usage, VERBS), read("recipes/lease.py")])))
    for span in spans(read(page)):
        words = span.split()
        for place, word in enumerate(words):
            if not (word.startswith("--") and span.startswith(("--", "stlm "))):
                continue
            assert word in of_run or word in of_verbs, span
            value = words[place + 1] if place + 1 < len(words) else None
            if (slot := of_run.get(word)) and value:
                assert value in true_kinds(slot) or "." in value, span


@pytest.mark.parametrize("page", PAGES)
def test_extras_exist(page):
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    named = [name for group in re.findall(r"stlm\[([\w,]+)\]", read(page)) for name in group.split(",")]
    assert [name for name in named if name not in extras] == []


@pytest.mark.parametrize("page", PAGES)
def test_toml_describes_a_run(page, examples):
    for number, text in enumerate(blocks(read(page), "toml")):
        path = examples / f"{number}.toml"
        path.write_text(text)
        configure(str(path), [], "stlm train")


# --- slots and kinds

def slots() -> dict[str, type[Slot]]:
    """Every slot by its package."""
    found = {}
    for module in pkgutil.walk_packages(stlm.__path__, "stlm."):
        if module.ispkg:
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, Slot) and vars(value).get("package") == module.name:
                    found[module.name] = value
    return found


def test_all_slots_and_kinds_are_listed():
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:-1]]
            for line in PARTS.splitlines() if line.startswith("| `stlm.")]
    listed = {package: (flags, names) for (package,), _, flags, names in rows}
    found = slots()
    assert sorted(listed) == sorted(found)
    of_run = flags_of_runs()
    for package, (flags, names) in listed.items():
        assert names == true_kinds(found[package]), package
        for flag in flags:
            verb, _, own = flag.removeprefix("stlm ").partition(" ")
            assert own in verb_usage(verb) if own else of_run.get(flag) is found[package], package


def test_all_presets_are_listed():
    assert PRESETS.keys() <= set(spans(read("README.md")))


# --- the examples of docs/parts.md

def test_every_example_can_be_imported(examples):
    for path in sorted(examples.glob("mine/*.py")):
        importlib.import_module(f"mine.{path.stem}")


def test_an_own_pooling_trains_and_is_saved(examples):
    config = tiny_config(steps=1)
    config = dataclasses.replace(config, model=decode(ModelConfig, {"pooling": "mine.max"}, config.model))
    trainer = tiny_trainer(examples / "run", config=config)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.run()
    after = list(trainer.model.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    saved = open_checkpoint(trainer.save())
    assert saved.config.model.pooling.kind == "mine.max"
    assert saved.build_model().backbone.pooling.channels == 4


@pytest.mark.parametrize("patching", ["whitespace", "stride", "dynamic"])
def test_an_own_pooling_keeps_the_invariants(patching, examples):
    cell = (patching, "mine.max", "conv", "tied")
    model = small_model(cell)
    rows = torch.tensor([checks.tokens_of(checks.TEXT, model.bos), [*checks.TEXT[20:], model.bos, *checks.TEXT[:20]]])
    for training in (False, True):
        checks.check_nothing_leaks(model.train(training), rows, 256)
    model.eval()
    checks.check_sums_to_one(small_model(cell, Letters()), 3, 6)
    checks.check_steps_equal_whole(model, rows, 0)
    checks.check_one_at_a_time(model, rows[0])
    checks.check_neighbours_do_not_matter(model, b"Another one, unfini", checks.TEXT)


def test_an_own_recipe_describes_runs(examples):
    for path in examples.glob("*.py"):
        recipe = load_recipe(path)
        for arm in recipe.arms:
            preset, *flags = recipe.words(arm, 0)
            configure(preset, flags, "stlm train")
