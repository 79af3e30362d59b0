"""Facts and measurements about this machine: its memory, its speed, and which precision is faster."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from stlm.data.batch import Batch
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.text.tokenizer import Tokenizer
from stlm.train.device import memory_of, name_of
from stlm.train.model_with_loss import ModelWithLoss


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """A context in which a forward pass computes in ``precision``."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A context in which the CPU computes with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_fits(config: ModelConfig, tokenizer: Tokenizer, device: torch.device, tokens: int) -> None:
    """UserError if the device's memory is too small for the weights, their gradients and two moments per weight, or for the
    least that a pass over ``tokens`` keeps: three numbers of each token, and its vector before each block.
    """
    with torch.device("meta"):
        n = sum(parameter.numel() for parameter in LM(config, tokenizer).parameters())
    memory = memory_of(device)
    if 16 * n > memory:
        raise UserError(f"this model has {n:,} parameters and needs {16 * n / 2**30:.1f} GiB to train, but there are "
                        f"{memory / 2**30:.1f} GiB of memory; lower --model.dim or --model.layers")
    least = tokens * (24 + 2 * config.local_dim * (1 + config.encoder_layers + config.decoder_layers))
    if least > memory:
        raise UserError(f"a step over {tokens:,} tokens at once needs more than {least / 2**30:.1f} GiB, but there are "
                        f"{memory / 2**30:.1f} GiB of memory; increase --train.grad-accum, "
                        "or decrease --train.batch-size or --train.seq-len")


def describe(device: torch.device) -> dict[str, object]:
    """Hardware and versions, for the record."""
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        cpu = platform.processor()
    return {
        "stlm": importlib.metadata.version("stlm"), "torch": torch.__version__, "python": platform.python_version(),
        "system": platform.system(), "cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "device": name_of(device),
    }


def forget_peak_memory(device: torch.device) -> None:
    """Reset the peak that `peak_memory` returns. On the CPU only Linux can do this, on an Apple GPU nobody."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory(device: torch.device) -> int:
    """The largest number of bytes that this process has used at once, of GPU memory or, on a CPU, of main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()  # freed memory stays in PyTorch's pool, so it hardly ever falls
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """The shortest of a few timings, in seconds, after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def peak_flops(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large matrix product. MFU is relative to this."""
    return _product_flops(device, precision, {"cuda": 8192, "mps": 4096}.get(device.type, 1536))


def _product_flops(device: torch.device, precision: str, n: int) -> float:
    x = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * n**3 / seconds(lambda: x @ x, device)


def step_work(with_loss: ModelWithLoss, batch: Batch, precision: str, step: nn.Module | None = None) -> Callable[[], None]:
    """A function that computes forward and backward of one batch and leaves the model's state unchanged. step: what is called
    with the batch, if not the module itself.
    """
    def work() -> None:
        with autocast(with_loss.device, precision):
            loss = (step or with_loss)(batch)
        loss.total.backward()
        with_loss.zero_grad(set_to_none=True)
    return work


def faster_precision(with_loss: ModelWithLoss, batch: Batch) -> str:
    """``bf16`` or ``fp32``, whichever is faster for this batch on this machine. If small products show that bf16 is emulated,
    the batch isn't tried: on a CPU with only AVX2 it takes a hundred times as long as in fp32.
    """
    device = with_loss.device
    unsupported = (RuntimeError, TypeError) if device.type == "mps" else ()  # bf16 is newer there than the operations
    try:
        if _product_flops(device, "bf16", 256) < _product_flops(device, "fp32", 256) / 4:
            return "fp32"
        took = {name: _seconds_if_it_fits(with_loss, batch, name) for name in ("fp32", "bf16")}
    except unsupported:
        with_loss.zero_grad(set_to_none=True)
        return "fp32"
    return min(took, key=took.__getitem__)


def _seconds_if_it_fits(with_loss: ModelWithLoss, batch: Batch, precision: str) -> float:
    """Seconds of a step; infinity if a GPU has no room for it in ``fp32``, because bf16 needs less."""
    try:
        return seconds(step_work(with_loss, batch, precision), with_loss.device, 2)
    except torch.OutOfMemoryError:
        if precision == "bf16":
            raise
        with_loss.zero_grad(set_to_none=True)
        return math.inf


def count_flops(with_loss: ModelWithLoss, batch: Batch) -> int:
    """Floating-point operations of one forward and backward pass of a model that isn't compiled. The state of the random number
    generator stays as it was.
    """
    def attention(q: torch.Size, k: torch.Size, v: torch.Size, *rest: object, **more: object) -> int:
        return sdpa_flop_count(q, k, v)

    def attention_backward(grad: torch.Size, q: torch.Size, k: torch.Size, v: torch.Size, *rest: object, **more: object) -> int:
        return sdpa_backward_flop_count(grad, q, k, v)

    # PyTorch's own counter counts fused attention only on GPUs
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    own = {fused: attention, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward}
    gpu = [with_loss.device] if with_loss.device.type == "cuda" else []
    with torch.random.fork_rng(gpu), FlopCounterMode(display=False, custom_mapping=own) as counter:
        step_work(with_loss, batch, "bf16" if gpu else "fp32")()  # a GPU has room for a step in bf16, and may have none in fp32
    return counter.get_total_flops()
