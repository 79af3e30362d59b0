"""Suggestions for names that don't exist. If no known name is similar, nothing is suggested."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

CUTOFF = 0.7  # lowest similarity by difflib; with less, `list` would suggest `publish`
CUTOFF_OF_KINDS = 0.8  # kinds have short names, and `stop` isn't `soap`
MOST = 3  # largest number of suggestions

# Names of our flags in other programs: the flag, and its other names.
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
    "train.megabytes": "max-tokens",
    "train.epochs": "epoch num-epochs num-train-epochs n-epochs passes max-epochs",
    "train.max-minutes": "max-time at-most-minutes",
    "train.stop-after": "early-stopping early-stop patience early-stopping-patience",
    "train.keep-best": "load-best-model-at-end save-best save-best-only best",
    "train.teraflops": "flops compute budget",
    "train.init-from": "checkpoint from-checkpoint pretrained finetune fine-tune load warm-start start",
    "train.seq-len": "context context-length context-size block-size seq sequence-length max-length max-seq-len length",
    "train.batch-size": "batch rows bs micro-batch-size per-device-train-batch-size train-batch-size",
    "train.grad-accum": "accumulate accumulation gradient-accumulation gradient-accumulation-steps micro-batches",
    "train.warmup": "warmup-steps warm-up num-warmup-steps",
    "train.cooldown": "lr-decay decay-fraction annealing anneal",
    "train.grad-clip": "clip clipping max-grad-norm gradient-clipping clip-grad-norm",
    "train.averaging": "ema weight-averaging averaging moving-average swa",
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
    "device": "devices gpu gpus cuda",
    "processes": "nproc nproc-per-node num-processes n-processes world-size ngpus n-gpus num-gpus",
    "fsdp": "fsdp2 sharded shard zero",
    "threads": "num-threads n-threads cpu-threads cores",
    "jobs": "parallel workers n-jobs processes",
    "cluster": "slurm",
}
_COMMON = {"train", "model", "data", "size", "every", "with", "from", "that", "this", "max", "min", "num", "the", "no", "use"}


def did_you_mean(word: str, known: Sequence[str], synonyms: dict[str, str] | None = None) -> str:
    """`` (did you mean 'x'?)`` for the most similar known word, or an empty string.

    synonyms: other names of known words, separated by spaces.
    """
    for name, words in (synonyms or {}).items():
        if _is_called(word, words) and name in known:
            return _question([name])
    return _question(_spelled_alike(word, known)[:1])


def field_meant(word: str, known: Sequence[str]) -> str:
    """The same for the name of a field in a table. It suggests a field of that table, or the full name of a field elsewhere."""
    meant = [target.replace("-", "_") for target, words in SYNONYMS.items() if _is_called(word, words)]
    here = [name for name in known for target in meant if target.rpartition(".")[2] == name]
    near = [*here, *_spelled_alike(word, known), *(target for target in meant if "." in target)]
    return _question(near[:1])


def flag_meant(flag: str, known: dict[str, str], fields: dict[str, list[str]] | None = None,
               kinds: dict[str, list[str]] | None = None) -> str:
    """The same for a flag. known: all flags and their help texts.

    fields: fields of kinds that aren't chosen, such as ``optim.momentum``, and the flags that choose such a kind, such as
    ``--optim muon``. kinds: names of kinds, such as ``muon``, and the same flags.
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
    for kind in _misspelled(last, kinds, CUTOFF_OF_KINDS):
        return _question(kinds[kind][:MOST])
    found = _misspelled_flags(path, names) or _in_texts(last, {name.lstrip("-"): text for name, text in known.items()})
    return _question([f"--{name}" for name in found[:MOST]])


def _is_called(word: str, words: str) -> bool:
    """Whether ``word`` is one of ``words``. Dashes, underscores and capitals are ignored."""
    return re.sub("[-_]", "", word).lower() in words.replace("-", "").split()


def _question(words: list[str]) -> str:
    return f" (did you mean {' or '.join(map(repr, words))}?)" if words else ""


def _either(choices: list[str]) -> str:
    """Several values of one flag as a phrase: ``--optim adamw or muon``."""
    first, *others = choices
    *middle, last = [choice.split()[-1] for choice in others] or [""]
    return ", ".join([first, *middle]) + (f" or {last}" if last else "")


def _misspelled(word: str, known: Iterable[str], cutoff: float = CUTOFF) -> list[str]:
    """Known words that differ from ``word`` in a few letters, the most similar first."""
    near = difflib.get_close_matches(word, list(known), n=MOST, cutoff=cutoff)
    return [name for name in near if abs(len(name) - len(word)) <= max(1, len(word) // 6)]


def _spelled_alike(word: str, known: Iterable[str]) -> list[str]:
    """The same, and the known words that begin with ``word``. Capitals and underscores are ignored."""
    plain = {name.lower().replace("_", "-"): name for name in known}
    word = word.lower().replace("_", "-")
    longer = [name for name in plain if len(word) > 2 and name.startswith(word)]
    return [plain[name] for name in dict.fromkeys([*_misspelled(word, plain), *longer])]


def _misspelled_flags(path: str, names: list[str]) -> list[str]:
    """The flag whose last part differs in a few letters. If there are several, the one of the same table comes first."""
    near = _misspelled(path.rpartition(".")[2], {name.rpartition(".")[2] for name in names})
    return sorted((name for name in names if name.rpartition(".")[2] in near[:1]), key=lambda name: _far(path, name))[:1]


def _in_texts(last: str, texts: dict[str, str]) -> list[str]:
    """Flags whose names or texts contain all words of ``last``. Empty if there are many, or if the words are too common."""
    words = [_stem(word) for word in last.split("-") if len(word) > 2 and word not in _COMMON]
    if not words:
        return []
    stems = {name: [_stem(word) for word in re.findall(r"[a-z0-9]+", f"{name} {text}".lower())] for name, text in texts.items()}
    named = {name: [_stem(word) for word in re.findall(r"[a-z0-9]+", name.rpartition(".")[2])] for name in texts}
    for stems_of in (named, stems):
        found = [name for name in texts if all(any(_same(word, other) for other in stems_of[name]) for word in words)]
        if found:
            return found if len(found) <= MOST else []
    return []


def _stem(word: str) -> str:
    return re.sub(r"(?<=\w\w\w)(ping|ting|ning|ing|ed|es|s|e)$", "", word)


def _same(word: str, other: str) -> bool:
    """Whether two stems belong to one word: they are equal, or one is most of the other."""
    short, long = sorted((word, other), key=len)
    return word == other or (len(short) > 4 and long.startswith(short) and len(short) > 0.6 * len(long))


def _table(path: str) -> str:
    return path.rpartition(".")[0]


def _far(path: str, name: str) -> int:
    """Distance between the tables of two fields. It sorts fields of the same table first, then those of outer tables."""
    own, other = _table(path).split("."), _table(name).split(".")
    same = next((i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), min(len(own), len(other)))
    return len(own) + len(other) - 2 * same
