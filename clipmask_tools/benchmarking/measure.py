"""Clocks and memory: networks stepped in turn, and each in a process of its own for its peak
memory.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from clipmask_tools.benchmarking.networks import Network, build_network, make_pictures

MODES = ("train", "infer")
BATCH = {"train": 2, "infer": 1}
MEGABYTE = 2**20


class Setting(NamedTuple):
    """Where and on what networks are measured.

    Attributes:
        size: height and width of the pictures.
        num_classes: K.
        device: cpu, cuda or mps.
        autocast: 16-bit type of the computation; None: float32.
    """

    size: tuple[int, int]
    num_classes: int
    device: str = "cpu"
    autocast: torch.dtype | None = None

    def call(self, network: Network, mode: str, batch: int | None = None) -> Callable[[], object]:
        """Returns a function that runs one step (``train``) or prediction (``infer``) and waits for
        its end.
        """
        device = torch.device(self.device)
        network.model.to(device)
        pictures = make_pictures(batch or BATCH[mode], self.size, self.num_classes, device)
        if mode == "infer":
            network.for_inference()
        inputs = network.inputs(pictures)
        run = network.step if mode == "train" else network.predict

        def call() -> None:
            run(inputs, self.autocast)
            if device.type == "cuda":
                torch.cuda.synchronize()

        return call


def keep_memory() -> bool:
    """Has the C library keep freed memory for this process' next tensors instead of handing it back
    to the system.

    By default large tensors come as fresh pages each time, which the system clears at their first
    use. How often that is depends on all that ran before in the process: the same network took
    between 1 and 1.5 times as long.

    Returns:
        Whether the C library could be told so; only glibc can.
    """
    trim_threshold, most_mapped = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    return bool(_libc("mallopt", trim_threshold, -1) and _libc("mallopt", most_mapped, 0))


def release_memory() -> None:
    """Hands freed memory back to the system after all, where the C library is glibc."""
    gc.collect()
    _libc("malloc_trim", 0)


def _libc(function: str, *arguments: int) -> int:
    """Calls a function of glibc; 0 where there is another C library."""
    if platform.libc_ver()[0] != "glibc":
        return 0
    return int(getattr(ctypes.CDLL(None), function)(*arguments))


def paired(
    calls: Mapping[str, Callable[[], object]], rounds: int, title: str = ""
) -> dict[str, list[float]]:
    """Runs all in turn, again and again, so that a machine whose speed drifts is as kind to one as
    to another.

    Args:
        calls: by name.
        rounds: that count; one more goes before them.
        title: of the progress bar; without one there is none.

    Returns:
        Seconds of every counted round, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in tqdm(range(rounds + 1), title, leave=False, file=sys.stderr, disable=not title):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number:
                times[name].append(time.perf_counter() - began)
    return times


class Spread(NamedTuple):
    """Median and range of some numbers."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Summarises one or more numbers."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(times: Mapping[str, Sequence[float]], name: str) -> dict[str, Spread]:
    """Returns the time of ``name`` as a share of each other's, taken round by round."""
    return {
        other: spread([own / its for own, its in zip(times[name], seconds, strict=True)])
        for other, seconds in times.items()
        if other != name
    }


def cost(name: str, setting: Setting) -> dict[str, float]:
    """Returns parameters and the FLOPs of one prediction, a multiplication and an addition counted
    as two.
    """
    network = build_network(name, setting.num_classes)
    parameters = sum(parameter.numel() for parameter in network.model.parameters())
    network.model.requires_grad_(False)
    call = Setting(setting.size, setting.num_classes).call(network, "infer")
    # The plain kernel: not every release of torch knows what the fused ones of CPUs cost.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return {"parameters": parameters, "flops": counter.get_total_flops()}


def memory(
    name: str,
    mode: str,
    setting: Setting,
    *,
    options: tuple[str, ...] = (),
    timed: int = 0,
    threads: int | None = None,
) -> dict[str, float]:
    """Measures one network in a process of its own, two steps or predictions long.

    The C library hands freed memory back at once there, where it is glibc: what is in use counts,
    not what it hoards.

    Args:
        name: of the network.
        mode: train or infer.
        setting: where and on what.
        options: config keys and values of ClipMask.
        timed: how many more runs to time.
        threads: of torch; None: its default.

    Returns:
        In MiB ``built``, with libraries and weights, ``peak``, and ``above``, their difference;
        with ``timed`` runs ``seconds``, their median.

    Raises:
        RuntimeError: the process came to an end without a result, as where memory runs out.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_measure_alone, args=(sender, name, mode, setting, options, timed, threads)
    )
    process.start()
    sender.close()
    try:
        result: dict[str, float] = receiver.recv()
    except EOFError as error:
        process.join()
        raise RuntimeError(
            f"{name}, {mode} at {setting.size}: its process ended with {process.exitcode}"
        ) from error
    process.join()
    return result


def _measure_alone(
    sender: Any,
    name: str,
    mode: str,
    setting: Setting,
    options: tuple[str, ...],
    timed: int,
    threads: int | None,
) -> None:
    if threads:
        torch.set_num_threads(threads)
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    _libc("mallopt", mmap_threshold, 2**16)
    call = setting.call(build_network(name, setting.num_classes, options), mode)
    release_memory()  # what building has used and freed would hide what running takes
    built = _resident(setting.device, reset=True)
    call()
    call()
    peak = _peak(setting.device)
    result = {"built": built, "peak": peak, "above": peak - built}
    if timed:
        keep_memory()
        seconds = paired({name: call}, timed)[name]
        result["seconds"] = statistics.median(seconds)
    sender.send(result)


def _status(field: str) -> float | None:
    """A field of Linux' account of this process, in MiB."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next(
        (int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None
    )


def _resident(device: str, reset: bool) -> float:
    """Memory in use now, in MiB; ``reset`` lets the peak begin here where that can be had."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / MEGABYTE
    if reset and Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") or _highest()


def _peak(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MEGABYTE
    return _status("VmHWM") or _highest()


def _highest() -> float:
    value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return value / (MEGABYTE if sys.platform == "darwin" else 1024)
