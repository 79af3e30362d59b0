"""What a person may have meant by a name that doesn't exist. Where nothing is near, nothing is suggested."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

CUTOFF = 0.7  # of difflib's similarity: lower and `list` is near `publish`
MOST = 3  # suggestions that help at once

# What others call our flags: the flag, and the words for it.
SYNONYMS = {
    "data.source": "dataset corpus text train-data train-file dataset-name",
    "data.field": "text-field text-column column",
    "data.tokenizer": "codec tokeniser encoding",
    "data.tokenizer.vocab-size": "vocab vocabulary vocabulary-size n-vocab",
    "model.dim": "hidden hidden-size hidden-dim width d-model n-embd embed-dim model-dim",
    "model.layers": "depth n-layer n-layers num-layers num-hidden-layers blocks",
    "model.trunk.heads": "n-head n-heads num-heads num-attention-heads attention-heads",
    "model.trunk.kv-heads": "num-key-value-heads n-kv-heads gqa",
    "model.trunk.ffn.ratio": "mlp-ratio ffn-ratio ffn-mult intermediate-size expansion",
    "model.trunk.ffn": "mlp feed-forward activation",
    "model.trunk.rope-base": "rope-theta theta",
    "model.patching": "patches patch patcher segmentation chunking",
    "model.copying": "copy",
    "model.sharing": "share tie weight-sharing shared",
    "model.head": "tie-embeddings tie-word-embeddings output-head",
    "optim": "optimizer optimiser",
    "optim.lr": "lr learning-rate rate peak-lr max-lr eta",
    "optim.weight-decay": "wd decay l2",
    "optim.beta1": "adam-beta1",
    "optim.beta2": "adam-beta2",
    "objective": "loss loss-function criterion",
    "train.steps": "max-steps iterations iters n-steps num-steps max-iters",
    "train.minutes": "time duration time-limit hours seconds",
    "train.megabytes": "epochs epoch num-epochs num-train-epochs n-epochs max-tokens",
    "train.teraflops": "flops compute budget",
    "train.init-from": "checkpoint from-checkpoint pretrained finetune fine-tune load warm-start start",
    "train.seq-len": "context context-length context-size block-size seq sequence-length max-length max-seq-len length",
    "train.batch-size": "batch rows bs micro-batch-size per-device-train-batch-size train-batch-size",
    "train.grad-accum": "accumulate accumulation gradient-accumulation gradient-accumulation-steps micro-batches",
    "train.warmup": "warmup-steps warm-up num-warmup-steps",
    "train.cooldown": "lr-decay decay-fraction annealing anneal",
    "train.grad-clip": "clip clipping max-grad-norm gradient-clipping clip-grad-norm",
    "train.ema": "weight-averaging averaging moving-average",
    "train.precision": "dtype bf16 fp16 fp32 amp mixed-precision half",
    "train.compile": "torch-compile",
    "train.checkpoint-every": "save-every save-steps save-interval checkpoint-interval",
    "train.keep": "save-total-limit keep-checkpoints",
    "train.evaluate-every": "eval-every eval-interval eval-steps validate-every val-every",
    "train.evaluate-kilobytes": "eval-iters eval-size",
    "train.tasks": "benchmarks benchmark",
    "train.log-every": "log-interval logging-steps log-steps",
    "train.trackers": "wandb tensorboard tracker report-to logger",
    "name": "run-name run output output-dir out-dir out experiment",
    "resume": "continue resume-from resume-from-checkpoint restart",
    "seed": "random-seed random-state manual-seed",
    # of other verbs
    "max-bytes": "max-tokens max-new-tokens max-length length n-tokens tokens",
    "temperature": "temp",
    "top-p": "nucleus nucleus-p p",
    "speculate": "speculative draft assistant",
    "tasks": "task benchmark benchmarks",
    "limit": "samples n-samples max-samples num-samples",
    "text": "file input corpus",
    "output": "out output-dir out-dir output-path",
    "jobs": "parallel workers n-jobs processes",
    "cluster": "slurm",
}
# What isn't a flag, but is asked for.
NOTES = {
    "a GPU is used where there is one": "device devices gpu gpus cuda",
    "set OMP_NUM_THREADS=N before the command": "threads num-threads n-threads cpu-threads",
}
_NOT_SAID = {"train", "model", "data", "size", "every", "with", "from", "that", "this", "max", "min", "num", "the", "no", "use"}


def did_you_mean(word: str, known: Sequence[str], synonyms: dict[str, str] | None = None) -> str:
    """`` (did you mean 'x'?)`` for the nearest known word, else an empty string.

    synonyms: for known words, what others call them, separated by spaces.
    """
    for name, words in (synonyms or {}).items():
        if _is_called(word, words) and name in known:
            return _question([name])
    return _question(_spelled_alike(word, known)[:1])


def field_meant(word: str, known: Sequence[str]) -> str:
    """The same for a field's name in a table: one of its fields, or the whole name of a field elsewhere."""
    meant = [target.replace("-", "_") for target, words in SYNONYMS.items() if _is_called(word, words)]
    here = [name for name in known for target in meant if target.rpartition(".")[2] == name]
    near = [*here, *_spelled_alike(word, known), *(target for target in meant if "." in target)]
    return _question(near[:1])


def flag_meant(flag: str, known: dict[str, str], fields: dict[str, list[str]] | None = None,
               kinds: dict[str, list[str]] | None = None) -> str:
    """The same for a flag, among the flags in ``known`` with what is said about each.

    fields: of kinds that aren't chosen, as ``optim.momentum``, and the flags that choose such a kind, as ``--optim muon``.
    kinds: their names, as ``muon``, and the same flags.
    """
    fields, kinds, path = fields or {}, kinds or {}, flag.lstrip("-").replace("_", "-").lower()
    if path in fields:
        return f" (it goes with {_either(fields[path])})"
    last, names = path.rpartition(".")[2], [name.lstrip("-") for name in known]
    called = [name for name, words in SYNONYMS.items() if _is_called(path, words) or _is_called(last, words)]
    near = _misspelled_flags(path, [name for name in names if _table(name) == _table(path) != ""])
    ending = [name for name in names if name == path or name.endswith(f".{last}")]
    nearest = min((_far(path, name) for name in ending), default=0)
    found = [*(name for name in called if name in names), *near, *(name for name in ending if _far(path, name) == nearest)]
    if found:
        return _question([f"--{name}" for name in dict.fromkeys(found)][:MOST])
    for name in [*called, *(name for name in fields if name.endswith(f".{last}"))]:
        if name in fields:
            return f" (did you mean '--{name}'? It goes with {_either(fields[name])})"
    for kind in _misspelled(last, kinds):
        return _question(kinds[kind][:MOST])
    if notes := [note for note, words in NOTES.items() if last in words.split()]:
        return f" ({notes[0]})"
    found = _misspelled_flags(path, names) or _said(last, {name.lstrip("-"): text for name, text in known.items()})
    return _question([f"--{name}" for name in found[:MOST]])


def _is_called(word: str, words: str) -> bool:
    """Whether a word is one of ``words``; dashes, underscores and capitals make no difference."""
    return re.sub("[-_]", "", word).lower() in words.replace("-", "").split()


def _question(words: list[str]) -> str:
    return f" (did you mean {' or '.join(map(repr, words))}?)" if words else ""


def _either(choices: list[str]) -> str:
    """Several values of one flag in words: ``--optim adamw or muon``."""
    first, *others = choices
    *middle, last = [choice.split()[-1] for choice in others] or [""]
    return ", ".join([first, *middle]) + (f" or {last}" if last else "")


def _misspelled(word: str, known: Iterable[str]) -> list[str]:
    """Known words that differ from ``word`` in a few letters, the nearest first."""
    near = difflib.get_close_matches(word, list(known), n=MOST, cutoff=CUTOFF)
    return [name for name in near if abs(len(name) - len(word)) <= max(1, len(word) // 6)]


def _spelled_alike(word: str, known: Iterable[str]) -> list[str]:
    """The same, and those that begin with it; capitals and underscores make no difference."""
    plain = {name.lower().replace("_", "-"): name for name in known}
    word = word.lower().replace("_", "-")
    begun = [name for name in plain if len(word) > 2 and name.startswith(word)]
    return [plain[name] for name in dict.fromkeys([*_misspelled(word, plain), *begun])]


def _misspelled_flags(path: str, names: list[str]) -> list[str]:
    """The flag whose last part differs in a few letters, of the same table where there are several."""
    near = _misspelled(path.rpartition(".")[2], {name.rpartition(".")[2] for name in names})
    return sorted((name for name in names if name.rpartition(".")[2] in near[:1]), key=lambda name: _far(path, name))[:1]


def _said(last: str, texts: dict[str, str]) -> list[str]:
    """Flags whose names or texts have all the words of ``last``; none where there are many, or where its words say little."""
    words = [_stem(word) for word in last.split("-") if len(word) > 2 and word not in _NOT_SAID]
    if not words:
        return []
    stems = {name: [_stem(word) for word in re.findall(r"[a-z0-9]+", f"{name} {text}".lower())] for name, text in texts.items()}
    named = {name: [_stem(word) for word in re.findall(r"[a-z0-9]+", name.rpartition(".")[2])] for name in texts}
    for place in (named, stems):
        found = [name for name in texts if all(any(_same(word, other) for other in place[name]) for word in words)]
        if found:
            return found if len(found) <= MOST else []
    return []


def _stem(word: str) -> str:
    return re.sub(r"(?<=\w\w\w)(ping|ting|ning|ing|ed|es|s|e)$", "", word)


def _same(word: str, other: str) -> bool:
    """Whether two stems are of one word: the same, or one is most of the other."""
    short, long = sorted((word, other), key=len)
    return word == other or (len(short) > 4 and long.startswith(short) and len(short) > 0.6 * len(long))


def _table(path: str) -> str:
    return path.rpartition(".")[0]


def _far(path: str, name: str) -> int:
    """How much of the tables' names differs: fields of the same table come first, then those higher up."""
    own, other = _table(path).split("."), _table(name).split(".")
    same = next((i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), min(len(own), len(other)))
    return len(own) + len(other) - 2 * same
