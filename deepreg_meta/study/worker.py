"""Independent pieces of work in several processes, each with its share of the cores."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    lost: Callable[[Item], Result] | None = None,
) -> Iterator[tuple[Item, Result]]:
    """
    Call a function for every item, as many at a time as there are jobs.

    With one job everything happens in this process. Networks on small images do not
    fill the cores of a CPU: there, several processes of one thread each get more done
    than one process of several threads.

    :param function: known by its name in a module, as are its arguments' types.
    :param items: one for each call.
    :param jobs: number of processes, >= 1; each computes with the cores divided by it.
    :param lost: gives the result of an item whose process was ended from outside, as
        where memory runs out. All that were not finished then are first tried again,
        one by one. None raises.
    :return: items and results, in the order in which they are finished. Where that
        ends early, by an error or an interruption, no work goes on.
    :raises ValueError: for another number of jobs.
    :raises BrokenProcessPool: where a process was ended and `lost` is None.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected an integer >= 1, got {jobs!r}.")
    if jobs == 1:
        for item in items:
            yield item, function(item)
        return
    left = list(range(len(items)))
    try:
        for index, result in _pooled(function, items, left, jobs):
            left.remove(index)
            yield items[index], result
    except BrokenProcessPool:
        if lost is None:
            raise
    if lost is not None:
        for index in left:  # the pool does not say whose process it was
            yield items[index], _alone(function, items[index], lost)


def _alone(
    function: Callable[[Item], Result],
    item: Item,
    lost: Callable[[Item], Result],
) -> Result:
    """Call a function for one item, in a process of its own."""
    try:
        [(_, result)] = _pooled(function, [item], [0], 1)
    except BrokenProcessPool:
        return lost(item)
    return result


def _pooled(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    indices: Sequence[int],
    jobs: int,
) -> Iterator[tuple[int, Result]]:
    """Call a function for some items in a pool of processes."""
    # not forked: TensorFlow's threads do not survive that
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=_begin, initargs=(jobs,)
    )
    is_done = False
    try:
        futures = {pool.submit(function, items[index]): index for index in indices}
        for future in as_completed(futures):
            yield futures[future], future.result()
        is_done = True
    finally:
        if not is_done:
            # a process has its next item already, and would take it up; the executor
            # has no public way to end them before Python 3.14
            for process in list((pool._processes or {}).values()):
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(jobs: int) -> None:
    """Compute with this process's share of the cores, as long as its parent lives."""
    parent = parent_process()
    if parent is not None:
        # where the parent was killed, nobody would take the results or end the work
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    for name in _THREADS:
        os.environ.setdefault(name, str(threads))


def _end_with(sentinel: int) -> None:
    """End this process, whatever it does, when another one has ended."""
    wait([sentinel])
    os._exit(1)


@contextmanager
def output_into(path: Path) -> Iterator[None]:
    """
    Write what this process prints, its libraries included, into a file.

    :param path: of the file; what is printed is appended.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    with path.open("a", encoding="utf-8") as file:
        try:
            for stream, _ in kept:
                os.dup2(file.fileno(), stream)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, copy in kept:
                os.dup2(copy, stream)
                os.close(copy)
