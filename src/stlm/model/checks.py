"""What must always hold, as functions of a model: they raise AssertionError, with one sentence, where it doesn't.

They are meant for the models of `stlm.model.small`: float64, all weights drawn at random. ``stlm check`` runs them over a part
of a person's own, the tests over every kind.
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
ROUNDING = 1e-11  # what a score may move by without having learned anything: sums are rounded by where a row stands in a batch
LOOKS_AHEAD_IN_TRAINING = ("stlm.model.depth.mixture",)  # kinds that rank all patches of a row while they train, by design
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
    """Whether nothing may leak while the model trains either: not so where a part looks ahead by design."""
    return not any(type(part).__module__ in LOOKS_AHEAD_IN_TRAINING for part in vars(config).values())


@torch.no_grad()
def check_nothing_leaks(model: LM, rows: Int[Tensor, "batch seq"], tokens: int) -> None:
    """Changing input t moves no score that predicts token t or an earlier one; and it does move a later one.

    Room for as many patches as there may be is given, because products of other sizes round otherwise. Where all tokens of a
    patch are predicted at once, they don't depend on each other, so none has to move its successor's scores.
    """
    places = torch.arange(rows.shape[1])
    changed = rows.expand(len(places), *rows.shape).clone()
    changed[places, :, places] = _others(rows, tokens).T
    moved = _moved(model, rows, changed).amax(dim=(1, 3))  # [changed, seq]
    _assert(moved.isfinite().all(), "there are scores that are not finite")
    leaked, reached = moved.tril(-1).amax(dim=1), moved.diagonal()
    t = int((leaked > ROUNDING).long().argmax())
    _assert(leaked[t] <= ROUNDING, f"token {t} leaks to the scores of token {t} or earlier, by {leaked[t]:.1e}")
    t = int((reached <= ROUNDING).long().argmax())
    _assert(reached[t] > ROUNDING or model.head.answer_dim is not None, f"token {t} doesn't reach the scores of its successor")


def _moved(model: LM, rows: Int[Tensor, "batch seq"], changed: Int[Tensor, "n batch seq"]
           ) -> Float[Tensor, "n batch seq token"]:
    """How far scores move when ``rows`` become each of ``changed``. All are read in one batch, between the rows as they are and
    a copy of these; a part that draws its luck by row tells these two apart, and is called once for each.
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
    """Another token in each place: in turns of rows, the next one, and one far off (for a letter, a byte that parts words)."""
    step = torch.where(torch.arange(len(rows)) % 2 == 0, 1, max(1, tokens // 2))
    return (rows + step[:, None]) % tokens


def check_boundaries_depend_on_the_past(model: LM, rows: Int[Tensor, "batch seq"], tokens: int) -> None:
    """Whether a patch ends at t is decided from the tokens up to t, and one ends where a row or a document begins."""
    ends, seq = ends_of(model, rows), rows.shape[1]
    _assert(ends[:, 0].all(), "the first token of a row doesn't end a patch")
    _assert(ends[rows == model.bos].all(), "a token that opens a document doesn't end a patch")
    for t in {1, seq // 2} - {0, seq}:  # rows that are shorter
        _assert(torch.equal(ends_of(model, rows[:, :t]), ends[:, :t]), f"boundaries differ where a row ends after {t} tokens")
    if seq == 1:
        return
    place = torch.arange(seq)
    future = place >= place[1:, None, None]  # [t, 1, seq]: rows whose tokens differ from t on
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
    """Ragged pieces of random lengths through the cache give the scores of the whole rows."""
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
    """Token by token through the cache gives the scores of the whole row."""
    cache = model.new_cache(1)
    single = [model(Inputs(row[None, t:t + 1]), cache).logits for t in range(len(row))]
    _assert_alike(torch.cat(single, dim=1), logits_of(model, row[None]), "scores of one token at a time and of all at once")


def check_neighbours_do_not_matter(model: LM, first: bytes, second: bytes) -> None:
    """A document's scores are the same alone, beside another row, and packed behind another document."""
    one, other = tokens_of(first, model.bos), tokens_of(second, model.bos)
    alone = logits_of(model, torch.tensor([other]))[0]
    packed = logits_of(model, torch.tensor([[*one, *other], [*other, *one]]))
    _assert_alike(packed[0, -len(other):], alone, "scores of a document behind another and alone")
    _assert_alike(packed[1, :len(other)], alone, "scores of a document before another and alone")


def check_every_parameter_learns(make: Callable[[int], LM], rows: Int[Tensor, "batch seq"]) -> None:
    """Every parameter that asks for a gradient gets one while the model trains, in one of a few calls with other weights (by
    which gates open) and other luck. ``make(seed)`` is the model with weights drawn by that seed.
    """
    seen, asked = set[str](), set[str]()
    for seed in range(LEARNING_CALLS):
        model = make(seed).train()
        torch.manual_seed(seed)
        output = model(Inputs(rows))
        scores = [output.logits, *(early.logits() for early, _ in output.early)]
        if output.ahead is not None:
            scores.append(output.ahead)
        (sum(each.square().sum() for each in scores) + sum(output.losses.values())).backward()
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
                 and not (model.patching.every_token and name.startswith("pooling."))]  # there is nothing to pool
        asked |= {name for name, _ in named}
        seen |= {name for name, parameter in named if parameter.grad is not None and parameter.grad.abs().sum() > 0}
        if seen == asked:
            return
    raise AssertionError(f"no gradient reaches {', '.join(sorted(asked - seen))}")


def check_odd_input(model: LM, text: bytes) -> None:
    """Scores are finite, and the same through the cache."""
    row = torch.tensor([tokens_of(text, model.bos)])
    whole, said = logits_of(model, row), f"scores of a text that begins with {text[:12]!r}"
    _assert(whole.isfinite().all(), f"{said} are not finite")
    with torch.no_grad():
        _assert_alike(model(Inputs(row), model.new_cache(1)).logits, whole, f"{said}, through the cache and without,")


def check_config_survives_json(config: ModelConfig) -> None:
    """A config is the same after a way through JSON, as checkpoints keep it."""
    again = decode(ModelConfig, json.loads(json.dumps(encode(config))))
    _assert(again == config, f"a config comes back from JSON as another: {again} instead of {config}")


def _assert(holds: bool | Tensor, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def _assert_alike(found: Tensor, expected: Tensor, what: str, tolerance: float = 1e-9) -> None:
    """Equal to rounding; what isn't a number never is."""
    _assert(found.shape == expected.shape, f"{what} have the shapes {[*found.shape]} and {[*expected.shape]}")
    apart = (found - expected).abs()
    _assert((apart <= tolerance * (1 + expected.abs())).all(), f"{what} differ by up to {apart.max():.1e}")
