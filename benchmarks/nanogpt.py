"""The recipe of nanoGPT (github.com/karpathy/nanoGPT), written again from its published settings.

The model is a stack of GPT-2 blocks with learned positions, LayerNorm without bias, GELU and tied tables. Training uses AdamW,
a warm-up, and a cosine down to a tenth of the learning rate. Windows are drawn at random from one long text. `SHAKESPEARE` is
nanoGPT's CPU demo and `TEN_MILLION` its small model. Tokens of both are single bytes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of model and training. explicit: compute attention by matrix products instead of PyTorch's fused function."""

    layers: int
    heads: int
    dim: int
    context: int
    batch_size: int
    lr: float = 1e-3
    warmup: int = 100
    vocab_size: int = 256
    explicit: bool = False


SHAKESPEARE = Recipe(layers=4, heads=4, dim=128, context=64, batch_size=12)
TEN_MILLION = Recipe(layers=6, heads=6, dim=384, context=256, batch_size=16)


class Layer(nn.Module):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        dim = recipe.dim
        self.norm_1, self.norm_2 = nn.LayerNorm(dim, bias=False), nn.LayerNorm(dim, bias=False)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3 * self.recipe.heads, -1)).transpose(1, 2).chunk(3, dim=1)
        if self.recipe.explicit:
            scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
            hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
            mixed = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class NanoGPT(nn.Module):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.table, self.positions = nn.Embedding(recipe.vocab_size, recipe.dim), nn.Embedding(recipe.context, recipe.dim)
        self.layers = nn.ModuleList(Layer(recipe) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(recipe.dim, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * recipe.layers) if writes else 1.0))

    def forward(self, inputs: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq token"]:
        x = self.table(inputs) + self.positions.weight[:inputs.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.norm(x), self.table.weight)


def loss_of(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, in nats per token."""
    return F.cross_entropy(model(inputs).float().flatten(0, 1), targets.flatten())


class Windows:
    """Windows of a text of one-byte tokens, drawn at random."""

    def __init__(self, text: np.ndarray, recipe: Recipe, seed: int) -> None:
        self.text, self.recipe, self.draw = text, recipe, np.random.default_rng(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        n = self.recipe.context
        starts = self.draw.integers(0, len(self.text) - n - 1, self.recipe.batch_size)
        rows = torch.from_numpy(np.stack([self.text[start:start + n + 1] for start in starts]).astype(np.int64))
        return rows[:, :-1], rows[:, 1:]


class Training:
    """One run of the recipe. care: use bf16, compiled code and the fused optimizer instead of float32, eager code and a loop.
    """

    def __init__(self, recipe: Recipe, text: np.ndarray, seed: int, care: bool) -> None:
        torch.manual_seed(seed)
        self.recipe, self.care, self.step_number = recipe, care, 0
        self.model = NanoGPT(recipe)
        self.loss = torch.compile(loss_of_model(self.model)) if care else loss_of_model(self.model)
        self.windows = Windows(text, recipe, seed)
        matrices = [p for p in self.model.parameters() if p.ndim == 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
            lr=recipe.lr, betas=(0.9, 0.99), fused=care)

    def step(self, done: float) -> None:
        """One step. done: the share of the run that is done; the cosine depends on it."""
        rate = 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, done)))
        rate *= min(1.0, (self.step_number + 1) / (self.recipe.warmup + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.care):
            loss = self.loss(*self.windows.batch())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step_number += 1

    def warm_up(self) -> None:
        """Compile. Only the state of the random number generator changes."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.care):
            self.loss(*self.windows.batch()).backward()
        self.model.zero_grad(set_to_none=True)

    @property
    def bytes_per_step(self) -> int:
        return self.recipe.batch_size * self.recipe.context


def loss_of_model(model: NanoGPT) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda inputs, targets: loss_of(model, inputs, targets)


@torch.no_grad()
def bits_per_byte(model: NanoGPT, text: np.ndarray, limit: int | None = None, batch_size: int = 16) -> float:
    """Bits per byte of ``text``. Every byte but the first is scored once, in windows that overlap by half a context."""
    n, stride = model.recipe.context, model.recipe.context // 2
    tokens = torch.from_numpy(text[:limit].astype(np.int64))
    starts = list(range(0, len(tokens) - 1, stride))
    nats, count = 0.0, 0
    for first in range(0, len(starts), batch_size):
        for group in _same_length(starts[first:first + batch_size], len(tokens), n):
            inputs = torch.stack([tokens[s:s + length] for s, length in group])
            targets = torch.stack([tokens[s + 1:s + 1 + length] for s, length in group])
            each = F.cross_entropy(model(inputs).transpose(1, 2), targets, reduction="none").double()
            for row, (s, _) in zip(each, group, strict=True):
                new = row if s == 0 else row[n - stride:]
                nats, count = nats + float(new.sum()), count + len(new)
    return nats / math.log(2) / count


def _same_length(starts: list[int], total: int, n: int) -> list[list[tuple[int, int]]]:
    lengths = [(s, min(n, total - 1 - s)) for s in starts]
    whole = [pair for pair in lengths if pair[1] == n]
    return [group for group in (whole, *([pair] for pair in lengths if pair[1] < n)) if group]
