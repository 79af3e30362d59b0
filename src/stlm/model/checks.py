"""Checks of what must hold for every model. A check raises AssertionError, with one sentence, if it fails.

The checks expect the models of `stlm.model.small`: float64, with all weights random. ``stlm check`` runs them on a user's own
part, and the tests run them on every kind.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stlm.config.decode import decode, encode
from stlm.data.batch import Inputs
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig

TEXT = b"It was late, and nobodyspoke:  the  rain fell.\nOn and on!"
ODD = {
    "one byte": b"x", "no spaces": b"abcdefghij" * 5, "only spaces": b" " * 40, "ten thousand letters": b"a" * 10_000,
    "chinese": "超小型语言模型逐字节地学习写作。".encode(),
    "emoji": "a\U0001f469\u200d\U0001f469\u200d\U0001f467b \U0001f389\U0001f389".encode(),
    "every byte": bytes(range(256)), "binary": bytes((i * 73 + 11) % 256 for i in range(300)),
    "new lines": b"\n\r\n\n \t\x00 \n", "half a character": b"\xe4\xb8", "the empty text": b"",
}
ROUNDING = 1e-11  # changes of scores up to this are rounding, which depends on the row's index in the batch
LOOKS_AHEAD_IN_TRAINING = ("stlm.model.depth.mixture",)  # kinds that rank all patches of a row in training
LEARNING_CALLS = 8


def tokens_of(text: bytes, bos: int) -> list[int]:
    """The tokens of a document of bytes."""
    return [bos, *text]


@torch.no_grad()
def logits_of(model: LM, rows: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq token"]:
    return model(Inputs(rows)).logits


@torch.no_grad()
def ends_of(model: LM, rows: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
    return model(Inputs(rows)).ends


def causal_in_training(config: ModelConfig) -> bool:
    """Whether the model is causal in training too. It isn't if a part looks ahead in training by design."""
    return not any(type(part).__module__ in LOOKS_AHEAD_IN_TRAINING for part in vars(config).values())


@torch.no_grad()
def check_nothing_leaks(model: LM, rows: Int[Tensor, "batch seq"], tokens: int) -> None:
    """A change of input t changes no score that predicts token t or an earlier token, and it changes the scores of token t + 1.

    The largest possible number of patches is allocated, because products of other sizes round differently. If the head predicts
    all tokens of a patch at once, they don't depend on each other, so the second half isn't checked.
    """
    index = torch.arange(rows.shape[1])
    changed = rows.expand(len(index), *rows.shape).clone()
    changed[index, :, index] = _others(rows, tokens).T
    moved = _moved(model, rows, changed).amax(dim=(1, 3))  # [changed, seq]
    _assert(moved.isfinite().all(), "there are scores that are not finite")
    leaked = moved.tril(-1).amax(dim=1)
    t = int((leaked > ROUNDING).long().argmax())
    _assert(leaked[t] <= ROUNDING, f"token {t} leaks to the scores of token {t} or earlier, by {leaked[t]:.1e}")
    reached = moved.diagonal()
    t = int((reached <= ROUNDING).long().argmax())
    _assert(reached[t] > ROUNDING or not model.head.reads_patch, f"token {t} doesn't reach the scores of its successor")


def _moved(model: LM, rows: Int[Tensor, "batch seq"], changed: Int[Tensor, "n batch seq"]
           ) -> Float[Tensor, "n batch seq token"]:
    """How much the scores change when ``rows`` are replaced by each of ``changed``.

    All versions are one batch, with the original rows first and last. If a part draws random numbers for each row in training,
    the first and the last differ. Then the model is called once for each version, with the same seed.
    """
    def scores(rows: Tensor) -> Tensor:
        torch.manual_seed(0)
        return model(Inputs(rows, n_patches=rows.shape[1])).logits

    everything = torch.cat([rows[None], changed, rows[None]])
    found = scores(everything.flatten(0, 1)).unflatten(0, everything.shape[:2])
    if not model.training or float((found[-1] - found[0]).abs().max()) < ROUNDING:
        return (found[1:-1] - found[0]).abs()
    before = scores(rows)
    return torch.stack([(scores(one) - before).abs() for one in changed])


def _others(rows: Int[Tensor, "batch seq"], tokens: int) -> Int[Tensor, "batch seq"]:
    """Another token at each index: in even rows the next token, in odd rows a distant one (not a letter for a letter)."""
    step = torch.where(torch.arange(len(rows)) % 2 == 0, 1, max(1, tokens // 2))
    return (rows + step[:, None]) % tokens


def check_boundaries_depend_on_the_past(model: LM, rows: Int[Tensor, "batch seq"], tokens: int) -> None:
    """Whether a patch ends at t depends only on the tokens up to t. A patch ends where a row or a document begins."""
    ends, seq = ends_of(model, rows), rows.shape[1]
    _assert(ends[:, 0].all(), "the first token of a row doesn't end a patch")
    _assert(ends[rows == model.bos].all(), "a token that opens a document doesn't end a patch")
    for t in {1, seq // 2} - {0, seq}:  # shorter rows
        _assert(torch.equal(ends_of(model, rows[:, :t]), ends[:, :t]), f"boundaries differ where a row ends after {t} tokens")
    if seq == 1:
        return
    index = torch.arange(seq)
    future = index >= index[1:, None, None]  # [t, 1, seq]: the tokens that differ, from t on
    twice = rows.repeat_interleave(2, dim=0)
    changed = torch.where(future, _others(twice, tokens), twice)
    found = ends_of(model, changed.flatten(0, 1)).unflatten(0, changed.shape[:2])
    other = (found != ends.repeat_interleave(2, dim=0)) & ~future
    t = int(other.any(dim=2).any(dim=1).long().argmax())
    _assert(not other.any(), f"tokens from {t + 1} on change where patches end before")


def check_sums_to_one(model: LM, tokens: int, length: int) -> None:
    """The probabilities of all strings of one length add up to one."""
    strings = torch.tensor(list(itertools.product(range(tokens), repeat=length)))
    opened = torch.cat([torch.full((len(strings), 1), model.bos), strings], dim=1)
    each = logits_of(model, opened[:, :-1]).log_softmax(-1).gather(2, opened[:, 1:, None]).sum((1, 2))
    total = float(each.exp().sum())
    _assert(abs(total - 1) < 1e-9, f"the probabilities of all texts of {length} tokens add up to {total:.9f}")


@torch.no_grad()
def check_steps_equal_whole(model: LM, rows: Int[Tensor, "batch seq"], seed: int) -> None:
    """Ragged pieces of random lengths, with a cache, give the scores of the whole rows."""
    whole = logits_of(model, rows)
    draw = torch.Generator().manual_seed(seed)
    batch, seq = rows.shape
    cache, done = model.new_cache(batch), torch.zeros(batch, dtype=torch.long)
    found: list[list[Tensor]] = [[] for _ in rows]
    while int(done.min()) < seq:
        lengths = torch.minimum(torch.randint(0, 8, (batch,), generator=draw), seq - done)
        piece = torch.randint(0, 3, (batch, max(1, int(lengths.max()))), generator=draw)  # padding is arbitrary
        for row, (n, start) in enumerate(zip(lengths.tolist(), done.tolist(), strict=True)):
            piece[row, :n] = rows[row, start:start + n]
        got = model(Inputs(piece, lengths=lengths), cache).logits
        for row, n in enumerate(lengths.tolist()):
            found[row].append(got[row, :n])
        done += lengths
    _assert_alike(torch.stack([torch.cat(parts) for parts in found]), whole, "scores of ragged pieces and of whole rows")


@torch.no_grad()
def check_one_at_a_time(model: LM, row: Int[Tensor, " seq"]) -> None:
    """Token by token, with a cache, the scores are those of the whole row."""
    cache = model.new_cache(1)
    single = [model(Inputs(row[None, t:t + 1]), cache).logits for t in range(len(row))]
    _assert_alike(torch.cat(single, dim=1), logits_of(model, row[None]), "scores of one token at a time and of all at once")


def check_neighbours_do_not_matter(model: LM, first: bytes, second: bytes) -> None:
    """A document's scores are the same alone, in a batch with another row, and packed after another document."""
    one, other = tokens_of(first, model.bos), tokens_of(second, model.bos)
    alone = logits_of(model, torch.tensor([other]))[0]
    packed = logits_of(model, torch.tensor([[*one, *other], [*other, *one]]))
    _assert_alike(packed[0, -len(other):], alone, "scores of a document behind another and alone")
    _assert_alike(packed[1, :len(other)], alone, "scores of a document before another and alone")


def check_every_parameter_learns(make: Callable[[int], LM], rows: Int[Tensor, "batch seq"]) -> None:
    """Every trainable parameter gets a gradient in at least one of a few training calls, each with other weights, since some
    gates are shut. ``make(seed)`` is the model with weights drawn by that seed.
    """
    seen, asked = set[str](), set[str]()
    for seed in range(LEARNING_CALLS):
        model = make(seed).train()
        model.set_progress(1.0)  # what begins late in training is there
        torch.manual_seed(seed)
        output = model(Inputs(rows))
        scores = [output.logits, *(early.logits() for early, _ in output.exits)]
        (sum(each.square().sum() for each in scores) + sum(loss.sum() for loss in output.aux_losses.values())).backward()
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        asked |= {name for name, _ in named}
        seen |= {name for name, parameter in named if parameter.grad is not None and parameter.grad.abs().sum() > 0}
        if seen == asked:
            return
    raise AssertionError(f"no gradient reaches {', '.join(sorted(asked - seen))}")


def check_odd_input(model: LM, text: bytes) -> None:
    """Scores are finite, and the same with a cache."""
    row = torch.tensor([tokens_of(text, model.bos)])
    whole, what = logits_of(model, row), f"scores of a text that begins with {text[:12]!r}"
    _assert(whole.isfinite().all(), f"{what} are not finite")
    with torch.no_grad():
        _assert_alike(model(Inputs(row), model.new_cache(1)).logits, whole, f"{what}, through the cache and without,")


def check_config_survives_json(config: ModelConfig) -> None:
    """A config survives the way to JSON and back, as in checkpoints."""
    again = decode(ModelConfig, json.loads(json.dumps(encode(config))))
    _assert(again == config, f"a config comes back from JSON as another: {again} instead of {config}")


def _assert(holds: bool | Tensor, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def _assert_alike(found: Tensor, expected: Tensor, what: str, tolerance: float = 1e-9) -> None:
    """Equal up to rounding. NaN is never equal."""
    _assert(found.shape == expected.shape, f"{what} have the shapes {[*found.shape]} and {[*expected.shape]}")
    apart = (found - expected).abs()
    _assert((apart <= tolerance * (1 + expected.abs())).all(), f"{what} differ by up to {apart.max():.1e}")
