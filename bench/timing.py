"""
Timing side by side, and tables of the results.

All that is compared is timed in turn, in one process, so that a drift of the machine
hits everything alike; what is stated is the ratio of neighbouring calls.
"""

import csv
import io
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from deepreg_meta.machine import processor


class Spread(NamedTuple):
    """A median, and the 10th and 90th percentile around it."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return e.g. `1.06 (1.04 to 1.09)`."""
        return f"{number(self.middle)} ({number(self.low)} to {number(self.high)})"


Cell = str | int | float | Spread | None


def interleave(
    calls: dict[str, Callable[[], object]], repeats: int, warm_up: int = 2
) -> dict[str, np.ndarray]:
    """
    Time several calls in turn: a, b, c, a, b, c and so on.

    :param calls: by name; the tensors that they return are waited for.
    :param repeats: rounds that are timed, >= 1.
    :param warm_up: rounds before them, for tracing and for the caches.
    :return: seconds per call, by name, shape = (repeats,).
    """
    for _ in range(warm_up):
        for call in calls.values():
            seconds(call)
    rounds = [[seconds(call) for call in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, np.array(rounds).T, strict=True))


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes, s, until all its tensors are there."""
    import tensorflow as tf

    start = time.perf_counter()
    for result in tf.nest.flatten(call()):
        if hasattr(result, "numpy"):
            result.numpy()
    return time.perf_counter() - start


def track(items: Sequence, name: str) -> Iterable:
    """Return the items, with a bar that tells how long the rest takes."""
    return tqdm(items, desc=name, unit="row", dynamic_ncols=True, leave=False)


def spread(values: ArrayLike) -> Spread:
    """Return the median and the 10th and 90th percentile, shape = (n,)."""
    low, middle, high = np.percentile(np.asarray(values, float), [10, 50, 90])
    return Spread(float(middle), float(low), float(high))


def paired(a: ArrayLike, b: ArrayLike) -> Spread:
    """
    Return the spread of the ratios of calls that were timed in turn.

    :param a: numerators, shape = (n,).
    :param b: denominators of the same rounds, shape = (n,).
    :return: of a / b, round by round.
    """
    return spread(np.asarray(a, float) / np.asarray(b, float))


def ratio(a: ArrayLike, b: ArrayLike) -> str:
    """Return `paired` in words, e.g. `1.06 (1.04 to 1.09)`."""
    return str(paired(a, b))


def number(value: float) -> str:
    """Return a number with three significant digits or all before the point."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    size = abs(float(f"{value:.2e}"))  # 99.96 is shown as 100
    digits = int(np.clip(2 - np.floor(np.log10(size)), 0, 6))
    return f"{value:.{digits}f}"


@dataclass
class Table:
    """
    Rows under named columns, for Markdown and for CSV.

    Example:
        table = Table("Steps", {"what": "", "time": "ms"})
        table.add("network", 225.1)
        table.markdown()
    """

    title: str
    columns: dict[str, str]  # name: unit, "" for none
    note: str = ""  # below the table, Markdown
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """
        Append a row.

        :param cells: one per column; None stays empty.
        :raises ValueError: for another number of cells.
        """
        if len(cells) != len(self.columns):
            raise ValueError(
                f"{self.title}: expected {len(self.columns)} cells, got {cells}."
            )
        self.rows.append(cells)

    def markdown(self) -> str:
        """Return title, table and note."""
        head = [f"{name} ({unit})" if unit else name for name, unit in self._columns()]
        lines = [head, ["---"] * len(head)]
        lines += [[_text(cell) for cell in row] for row in self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        note = f"\n{self.note}\n" if self.note else ""
        return f"### {self.title}\n\n{table}\n{note}"

    def csv(self) -> str:
        """Return all digits; a spread takes three columns."""
        wide = [
            any(isinstance(row[index], Spread) for row in self.rows)
            for index in range(len(self.columns))
        ]
        head = []
        for (name, unit), is_wide in zip(self._columns(), wide, strict=True):
            ends = ("", "_10th", "_90th") if is_wide else ("",)
            head += [name + end + (f" ({unit})" if unit else "") for end in ends]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head)
        for row in self.rows:
            cells: list[Cell] = []
            for cell, is_wide in zip(row, wide, strict=True):
                if not is_wide:
                    cells.append(cell)
                else:
                    cells += cell if isinstance(cell, Spread) else (cell, None, None)
            writer.writerow(["" if cell is None else cell for cell in cells])
        return text.getvalue()

    def write(self, folder: Path, name: str) -> None:
        """Write `name`.csv and `name`.md; the latter last, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.csv").write_text(self.csv())
        part = folder / f"{name}.md.part"
        part.write_text(self.markdown())
        part.replace(folder / f"{name}.md")

    def _columns(self) -> list[tuple[str, str]]:
        return list(self.columns.items())


def _text(cell: Cell) -> str:
    """Return a cell of a Markdown table."""
    if cell is None:
        return ""
    return number(cell) if isinstance(cell, float) else str(cell)


def machine() -> dict[str, str]:
    """Return processor, cores and versions, without names of hosts or folders."""
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    graphics = _graphics()
    return {
        "processor": processor(),
        "cores": str(_num_cores()),
        "memory (GiB)": number(_memory_gib()),
        **({"GPU": graphics} if graphics else {}),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "TensorFlow": of("tensorflow"),
        "tf-keras": of("tf-keras"),
        "DeepReg": of("deepreg"),
    }


def _num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _graphics() -> str:
    """Return the NVIDIA GPUs, "" for none; TensorFlow stays out of this process."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ", ".join(done.stdout.splitlines()) if done.returncode == 0 else ""


def _memory_gib() -> float:
    """Return the memory of the machine, GiB."""
    if sys.platform == "win32":
        return float("nan")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
