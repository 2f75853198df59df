"""A function over many items in several processes, of which some may die."""

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

# items a process that are handed out at a time; after a crash no more than these are read again
_AHEAD = 4


def map_robustly(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, Result | None]]:
    """Applies a function to each item.

    Args:
        function: can be pickled; raises nothing.
        items: that can be pickled.
        workers: processes; 0: in this one, which a crash then ends.

    Yields:
        (position, result) as they come. The result is None for an item whose process died (a
        decoder crashed, or the machine's memory ran out): the others that were handed out with it
        are done again, one at a time.
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
    """Empties ``todo`` from its end; a crash ends it and puts what had been handed out into
    ``suspects``.
    """
    with _pool(function, min(workers, len(todo))) as pool:
        running: dict[Future[Any], int] = {}
        try:
            while todo or running:
                while todo and len(running) < _AHEAD * workers:
                    position = todo.pop()
                    suspects.append(position)  # until its result is there
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
    # A fork starts in no time, where a new interpreter takes seconds to import torch; torch's
    # loaders do the same.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_install, initargs=(function,)
    )


_function: Callable[[Any], Any]  # of a worker process


def _install(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    # Ctrl-C is for the process that shows the progress bar
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(item: Any) -> Any:
    return _function(item)
