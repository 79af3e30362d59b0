"""The ways to compile a step.

blocks: each block of the stacks, one by one. Blocks of one kind share their compiled code, so it takes a fraction of the time
of compiling the whole step, and brings most of the speed on a CPU.
whole: model and objective as one graph, forward and backward. A GPU then runs few kernels, and the host starts them faster.
graphs: the same, recorded as CUDA graphs. The host starts a whole step at once, so small kernels don't wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from stlm.data.batch import Batch
from stlm.data.cache import cache_folders, temporary_folder, writable
from stlm.model.lm import LM
from stlm.nn.stack import Stack
from stlm.train.model_with_loss import ModelWithLoss, StepLoss

OFF = "off"
WAYS = ("graphs", "whole", "blocks")  # the most thorough first
MOST_SIZES = 8  # batches of so many sizes are compiled, which takes about a minute each; sizes that come later are rare


def ways_on(device: torch.device) -> tuple[str, ...]:
    """The ways to compile for a device, the most thorough first. On a CPU, compiling a whole step takes 90 s instead of 20 and
    makes it hardly faster (docs/log.md).
    """
    return WAYS if device.type == "cuda" else ("blocks",)


def named(way: object) -> object:
    """The name of a way on record. Earlier records have true for blocks and false for off."""
    return {True: "blocks", False: OFF}[way] if isinstance(way, bool) else way


def in_words(way: object) -> str:
    """What to say of a step that is compiled in this way; "" if it isn't compiled."""
    return {OFF: "", "blocks": "compiled", "whole": "compiled as a whole"}.get(str(named(way)), "compiled as CUDA graphs")


def compile_step(with_loss: ModelWithLoss, way: str) -> None:
    """Compile a step in this way, in place. The names of the weights don't change. Compiled code is stored beside the corpora,
    and later runs use it again.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(writable([*cache_folders(), temporary_folder()]) / "compiled"))
    if way == "blocks":
        compile_blocks(with_loss.model)
    elif way != OFF:
        with_loss._compiled_call_impl = _whole(with_loss, graphs=way == "graphs")


def compile_blocks(model: LM) -> None:
    """Compile every block of the stacks in place. The number of patches in the trunk's blocks differs from step to step; all
    other blocks always have the same shapes.
    """
    for stack in _stacks(model):
        for block in stack.blocks:
            block.compile(dynamic=stack is model.trunk)


def undo(with_loss: ModelWithLoss) -> None:
    """Undo `compile_step`, and free what it holds."""
    for stack in _stacks(with_loss.model):
        for block in stack.blocks:
            block._compiled_call_impl = None
    if with_loss._compiled_call_impl is not None:
        with_loss._compiled_call_impl = None
        torch.compiler.reset()  # frees the memory of CUDA graphs


def _whole(with_loss: ModelWithLoss, graphs: bool) -> Callable[[Batch], StepLoss]:
    """A function that computes a step with code for each size of a batch. It fails where the step isn't one graph."""
    torch._dynamo.config.optimize_ddp = False  # it would split the graph where DDP adds up gradients
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 8 * MOST_SIZES)  # parts may change, too
    compiled = torch.compile(with_loss._call_impl, fullgraph=True, dynamic=False, options={"triton.cudagraphs": graphs})
    sizes: set[tuple] = set()

    def step(batch: Batch) -> StepLoss:
        size = _size(batch)
        if size not in sizes and len(sizes) == MOST_SIZES:
            return with_loss._call_impl(batch)
        sizes.add(size)
        torch.compiler.cudagraph_mark_step_begin()  # the results of the step before may be overwritten
        return compiled(batch).kept()
    return step


def _size(batch: Batch) -> tuple:
    """The shapes in a batch and in its parts."""
    return batch.inputs.shape, batch.n_patches, batch.n_pairs, *(_size(part) for part in batch.parts)


def _stacks(model: LM) -> list[Stack]:
    return [module for module in model.modules() if isinstance(module, Stack)]
