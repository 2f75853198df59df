"""Measures time, with networks that run in alternation, and memory, each network in its own
process.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
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
    """The pictures, the device and the precision of a measurement.

    Attributes:
        size: height and width of the pictures.
        num_classes: K.
        device: cpu, cuda or mps.
        autocast: 16-bit data type of the computation; None: float32.
    """

    size: tuple[int, int]
    num_classes: int
    device: str = "cpu"
    autocast: torch.dtype | None = None

    def call(self, network: Network, mode: str, batch: int | None = None) -> Callable[[], object]:
        """Prepares a network and returns a function that runs it once and waits for the end.

        Args:
            network: a network; it is moved to the device.
            mode: ``train`` (the function runs one training step) or ``infer`` (one prediction).
            batch: pictures per batch; None: that of the mode in ``BATCH``.
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
    """Makes the C library keep freed memory for later tensors, and not return it to the system.

    By default each large tensor gets new pages, which the system clears at their first use. How
    often this happens depends on everything that ran before in the process: the same network took
    between 1 and 1.5 times as long.

    Returns:
        Whether the C library could be set; only glibc can.
    """
    trim_threshold, most_mapped = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    return bool(_libc("mallopt", trim_threshold, -1) and _libc("mallopt", most_mapped, 0))


def release_memory() -> None:
    """Returns freed memory to the system, where the C library is glibc."""
    gc.collect()
    _libc("malloc_trim", 0)


def _libc(function: str, *arguments: int) -> int:
    """Calls a function of glibc and returns its result; 0 where the C library is another one."""
    if platform.libc_ver()[0] != "glibc":
        return 0
    return int(getattr(ctypes.CDLL(None), function)(*arguments))


def paired(
    calls: Mapping[str, Callable[[], object]], rounds: int, title: str = ""
) -> dict[str, list[float]]:
    """Measures the time of several functions that run in alternation, round after round.

    A machine whose speed changes slowly then affects all of them alike.

    Args:
        calls: functions by name.
        rounds: number of measured rounds. One more round runs first, to warm up.
        title: title of the progress bar; empty: no bar.

    Returns:
        For each name, the seconds of every measured round.
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
    """The median, the smallest and the largest of some numbers."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Returns the median and the range of one or more numbers."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(times: Mapping[str, Sequence[float]], name: str) -> dict[str, Spread]:
    """Divides the times of ``name`` by those of each other function, round by round.

    Args:
        times: seconds of every round, by name.
        name: the function whose times are divided.

    Returns:
        For each other name, the median and the range of the ratios.
    """
    found = {}
    for other, seconds in times.items():
        if other != name:
            pairs = zip(times[name], seconds, strict=True)
            found[other] = spread([own / others for own, others in pairs])
    return found


def cost(name: str, setting: Setting) -> dict[str, float]:
    """Counts the parameters of a network and the FLOPs of one prediction.

    A multiplication and an addition count as two operations.
    """
    network = build_network(name, setting.num_classes)
    parameters = sum(parameter.numel() for parameter in network.model.parameters())
    network.model.requires_grad_(False)
    call = Setting(setting.size, setting.num_classes).call(network, "infer")
    # Use the plain kernel: not every release of torch can count the FLOPs of the fused CPU kernels.
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
    """Measures the memory of one network during two training steps or predictions.

    The network runs in a process of its own. Where the C library is glibc, it returns freed memory
    at once there, so that only memory in use is counted.

    Args:
        name: name of the network.
        mode: train or infer.
        setting: pictures, device and precision.
        options: config keys and values of ClipMask.
        timed: number of further runs whose time is measured.
        threads: number of torch's threads; None: its default.

    Returns:
        ``built`` (memory with libraries and weights), ``peak`` and ``above`` (their difference), in
        MiB; where ``timed`` is above 0 also ``seconds``, the median of these runs.

    Raises:
        RuntimeError: the process ended without a result, for example because memory ran out.
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
            f"{name}, {mode} at {setting.size}: its process ended with exit status"
            f" {process.exitcode} and gave no result"
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
    # A library does not count, even if a network imports it in its first training step.
    importlib.import_module("scipy.optimize")
    release_memory()  # memory freed after building would otherwise hide part of the peak
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
    """Reads a field of /proc/self/status in MiB; None where there is no such file or field."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return None


def _resident(device: str, reset: bool) -> float:
    """Returns the memory in use now, in MiB.

    Args:
        device: cpu, cuda or mps.
        reset: whether to count the peak memory from here on, where the system can do this.
    """
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
