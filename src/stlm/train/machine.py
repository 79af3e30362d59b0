"""What this machine is and what pays on it: measured at the start of a run, then kept for all of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from stlm.data.batch import Batch
from stlm.data.shards import cache_folder
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.nn.stack import Stack
from stlm.objective import Objective
from stlm.text.tokenizer import Tokenizer


def pick_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """The context in which a forward pass computes in ``precision``."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The context in which the CPU computes with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_fits(config: ModelConfig, tokenizer: Tokenizer, device: torch.device) -> None:
    """UserError where the weights, their gradients and two moments each are more than the device's memory holds."""
    with torch.device("meta"):
        n = sum(parameter.numel() for parameter in LM(config, tokenizer).parameters())
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 16 * n > memory:
        raise UserError(f"this model has {n:,} parameters and needs {16 * n / 2**30:.1f} GiB to train, but there are "
                        f"{memory / 2**30:.1f} GiB of memory; lower --model.dim or --model.layers")


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
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def forget_peak_memory(device: torch.device) -> None:
    """From now on, `peak_memory` is told of what comes only. Linux lets a process forget its peak, other systems don't."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held at once: on the GPU, or in main memory where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """The shortest of a few timings, after one for warming up."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def peak_flops(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large matrix product: the ceiling that MFU is measured against."""
    return _product_flops(device, precision, 8192 if device.type == "cuda" else 1536)


def _product_flops(device: torch.device, precision: str, n: int) -> float:
    x = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * n**3 / seconds(lambda: x @ x, device)


def step_work(model: LM, objective: Objective, batch: Batch, precision: str) -> Callable[[], None]:
    """Forward and backward of one batch as a call that leaves no trace."""
    def work() -> None:
        with autocast(model.device, precision):
            loss = objective(model, batch)
        loss.total.backward()
        model.zero_grad(set_to_none=True)
        objective.zero_grad(set_to_none=True)
    return work


def faster_precision(model: LM, objective: Objective, batch: Batch) -> str:
    """``bf16`` or ``fp32``, whichever takes this batch through the model faster here. Where small products say that bf16 is
    emulated, the batch isn't tried: on a CPU with AVX2 alone it takes a hundred times as long as in fp32.
    """
    if _product_flops(model.device, "bf16", 256) < _product_flops(model.device, "fp32", 256) / 4:
        return "fp32"
    took = {name: seconds(step_work(model, objective, batch, name), model.device, 2) for name in ("fp32", "bf16")}
    return min(took, key=took.__getitem__)


def count_flops(model: LM, objective: Objective, batch: Batch) -> int:
    """Floating-point operations of one forward and backward pass of a model that isn't compiled; no random number is used
    up by it.
    """
    def attention(q: torch.Size, k: torch.Size, v: torch.Size, *rest: object, **more: object) -> int:
        return sdpa_flop_count(q, k, v)

    def attention_backward(grad: torch.Size, q: torch.Size, k: torch.Size, v: torch.Size, *rest: object, **more: object) -> int:
        return sdpa_backward_flop_count(grad, q, k, v)

    # PyTorch's counter knows fused attention on GPUs only
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    own = {fused: attention, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward}
    with torch.random.fork_rng(), FlopCounterMode(display=False, custom_mapping=own) as counter:
        step_work(model, objective, batch, "fp32")()
    return counter.get_total_flops()


def compile_blocks(model: LM) -> None:
    """Compile every block of the stacks in place; names of weights stay as they are.

    Blocks of one kind share their compiled code, so this takes a fraction of the time that a whole model takes, for
    most of the speed. The trunk's blocks see another number of patches each step, the others always the same shapes.
    Compiled code is kept beside the corpora, so a later run finds it there.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    for stack in _stacks(model):
        for block in stack.blocks:
            block.compile(dynamic=stack is model.trunk)


def undo_compile(model: LM) -> None:
    """Take back `compile_blocks`."""
    for stack in _stacks(model):
        for block in stack.blocks:
            block._compiled_call_impl = None


def _stacks(model: LM) -> list[Stack]:
    return [module for module in model.modules() if isinstance(module, Stack)]
