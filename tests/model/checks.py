"""What must always hold, as functions of a model: they raise AssertionError where it doesn't."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from stlm.data.batch import Inputs
from stlm.model.lm import LM

TEXT = b"It was late, and nobodyspoke:  the  rain fell.\nOn and on!"


def tokens_of(text: bytes, document: int) -> list[int]:
    return [document, *text]


@torch.no_grad()
def logits_of(model: LM, rows: Tensor) -> Tensor:
    return model(Inputs(rows)).logits


@torch.no_grad()
def ends_of(model: LM, rows: Tensor) -> Tensor:
    return model(Inputs(rows)).ends


def check_nothing_leaks(model: LM, rows: Tensor, tokens: int, rounding: float = 0.0, reaches: bool = True) -> None:
    """Changing input t moves no score that predicts token t or an earlier one; and it does move a later one.

    rounding: what a score may move by without having learned anything; no bit of it where 0. reaches: whether every token
    has to move the scores of its successor.
    """
    def scores(rows: Tensor) -> Tensor:
        """Room for as many patches as there may be, because products of other sizes round otherwise; and the same luck."""
        torch.manual_seed(0)
        with torch.no_grad():
            return model(Inputs(rows, n_patches=rows.shape[1])).logits

    before = scores(rows)
    for t in range(rows.shape[1]):
        changed = rows.clone()
        changed[:, t] = (rows[:, t] + 1) % tokens
        after = scores(changed)
        moved = (after - before).abs().amax(dim=(0, 2))
        assert (moved[:t] <= rounding).all(), (
            f"token {t} leaks to the scores of token {t} or earlier, by {moved[:t].max():.1e}")
        assert moved[t] > rounding or not reaches, f"token {t} doesn't reach the scores of its successor"


def check_sums_to_one(model: LM, tokens: int, length: int) -> None:
    """The probabilities of all strings of one length add up to one."""
    strings = torch.tensor(list(itertools.product(range(tokens), repeat=length)))
    opened = torch.cat([torch.full((len(strings), 1), model.bos), strings], dim=1)
    each = logits_of(model, opened[:, :-1]).log_softmax(-1).gather(2, opened[:, 1:, None]).sum((1, 2))
    torch.testing.assert_close(each.exp().sum(), torch.ones((), dtype=each.dtype), rtol=0, atol=1e-9)


@torch.no_grad()
def check_steps_equal_whole(model: LM, rows: Tensor, seed: int) -> None:
    """Ragged pieces of random lengths through the cache give the scores of the whole rows."""
    whole = logits_of(model, rows)
    draw = torch.Generator().manual_seed(seed)
    batch, seq = rows.shape
    cache, done = model.new_cache(batch), torch.zeros(batch, dtype=torch.long)
    while int(done.min()) < seq:
        lengths = torch.minimum(torch.randint(0, 8, (batch,), generator=draw), seq - done)
        piece = torch.randint(0, 3, (batch, max(1, int(lengths.max()))), generator=draw)  # padding is arbitrary
        for row in range(batch):
            piece[row, :lengths[row]] = rows[row, done[row]:done[row] + lengths[row]]
        got = model(Inputs(piece, lengths=lengths), cache).logits
        for row in range(batch):
            n, start = int(lengths[row]), int(done[row])
            torch.testing.assert_close(got[row, :n], whole[row, start:start + n], rtol=1e-9, atol=1e-9)
        done += lengths


@torch.no_grad()
def check_one_at_a_time(model: LM, row: Tensor) -> None:
    """Token by token through the cache gives the scores of the whole row."""
    cache = model.new_cache(1)
    single = [model(Inputs(row[None, t:t + 1]), cache).logits for t in range(len(row))]
    torch.testing.assert_close(torch.cat(single, dim=1), logits_of(model, row[None]), rtol=1e-9, atol=1e-9)


def check_neighbours_do_not_matter(model: LM, first: bytes, second: bytes) -> None:
    """A document's scores are the same alone, beside another row, and packed behind another document."""
    document = model.bos
    alone = logits_of(model, torch.tensor([tokens_of(second, document)]))[0]
    long = torch.tensor([[*tokens_of(first, document), *tokens_of(second, document)],
                         [*tokens_of(second, document), *tokens_of(first, document)]])
    packed = logits_of(model, long)
    n = len(second) + 1
    torch.testing.assert_close(packed[0, -n:], alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(packed[1, :n], alone, rtol=1e-9, atol=1e-9)
