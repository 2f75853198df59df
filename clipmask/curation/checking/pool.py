"""Application of a function to many items in several processes, which may crash."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# number of items per process that are submitted at a time; only these are repeated after a crash
_AHEAD = 4


def map_robustly(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result | None]]:
    """Applies a function to each item, in processes that may crash.

    After a crash (of a decoder, or because memory ran out), the items that were submitted are
    repeated one at a time, to find the one that crashes.

    Args:
        function: a function that can be pickled and raises no exceptions.
        items: items that can be pickled.
        workers: the number of processes; 0: this process, which a crash then ends.

    Yields:
        (position, result), in the order of completion. The result is None for an item whose process
        crashed.
    """
    if not workers:
        for position, item in enumerate(items):
            yield position, function(item)
        return
    todo = list(range(len(items)))[::-1]
    while todo:
        suspects: list[int] = []
        yield from _until_crash(function, items, todo, suspects, workers)
        for position in suspects:
            again: list[int] = []
            yield from _until_crash(function, items, [position], again, 1)
            if again:
                yield position, None


def _until_crash(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    todo: list[int],
    suspects: list[int],
    workers: int,
) -> Iterator[tuple[int, Result]]:
    """Processes items until a crash.

    Args:
        function, items, workers: as for ``map_robustly``.
        todo: the positions of the items; they are taken from its end.
        suspects: after a crash, holds the positions without a result that were submitted.

    Yields:
        (position, result).
    """
    with _pool(function, min(workers, len(todo))) as pool:
        running: dict[Future[Any], int] = {}
        try:
            while todo or running:
                while todo and len(running) < _AHEAD * workers:
                    position = todo.pop()
                    suspects.append(position)  # until its result arrives
                    running[pool.submit(_call, items[position])] = position
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    position = running.pop(future)
                    suspects.remove(position)
                    yield position, result
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(cancel_futures=True)


def _pool(function: Callable[[Any], Any], workers: int) -> ProcessPoolExecutor:
    # A fork starts at once, but a new interpreter takes seconds to import torch. torch's loaders
    # fork too.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_install, initargs=(function,)
    )


_function: Callable[[Any], Any]  # the function, in a worker process


def _install(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    # only the main process, which shows the progress bar, handles Ctrl-C
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(item: Any) -> Any:
    return _function(item)
