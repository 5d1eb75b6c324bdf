"""Peak memory, and how time and memory grow."""

import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import models
import numpy as np
from child import ChildError, measured
from models import LARGE, MIDDLE, SMALL, TINY, Setting
from timing import Table, seconds, spread, track

COLUMNS = {
    "what": "",
    "backbone": "",
    "fixed grid": "",
    "k": "",
    "m": "",
    "scales": "",
    "labels": "",
    "peak": "MiB",
    "call": "s",
    "call / step": "s",
}
NOTE = (
    "One process per row. The peak is that of its resident memory, less what it was "
    "when everything was imported and nothing built. TensorFlow runs one operation at "
    "a time there, and large arrays go back to the system: otherwise the peak is up to "
    "6 % higher or lower from one process to the next, by which operations happen to "
    "meet. A call is an episode of m tasks with k inner steps, DeepReg's step, or an "
    "adaptation of 8 updates with its prediction (a sweep); the second one is timed. "
    "Both: an episode, then an adaptation, in one process. Where there are several "
    "processes: median (10th to 90th percentile)."
)
_VARIABLES = {"TF_NUM_INTEROP_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
EPISODE, ADAPTATION, DEEPREG, BOTH = (
    "episode", "adaptation", "DeepReg's step", "episode, then adaptation",
)  # fmt: skip
KINDS = {EPISODE: [EPISODE], ADAPTATION: [ADAPTATION], BOTH: [EPISODE, ADAPTATION]}
UPDATES = 8


class Job(NamedTuple):
    """One row."""

    what: str
    setting: Setting
    k: int = 1
    m: int = 1
    labels: int = 1
    processes: int = 1


def peak_mib() -> float:
    """
    Return the most memory that this process has had, MiB.

    Linux tells it of this program alone; `ru_maxrss` starts from what the process that
    launched it had.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(what: str, setting: list, k: int, m: int, labels: int) -> dict[str, Any]:
    """
    Make a call twice and look at the peak.

    :param what: an episode, an adaptation, both, or DeepReg's step.
    :param setting: a `Setting`.
    :param k: inner steps of an episode.
    :param m: tasks of an episode.
    :param labels: channels of each pair.
    :return: peak above that after the imports, MiB, and seconds of the second call.
    """
    imported = peak_mib()
    own = models.read_setting(setting)
    calls = []
    if what == DEEPREG:
        calls.append(models.deepreg_step(models.build_deepreg(own), own))
    else:
        model = models.build_model(own, True, k, m, UPDATES)
        makers = {
            EPISODE: lambda: models.episode(model, own, labels),
            ADAPTATION: lambda: models.adaptation(model, own),
        }
        calls += [makers[kind]() for kind in KINDS[what]]
    for call in calls:
        seconds(call)
    second = sum(seconds(call) for call in calls)
    return dict(peak_mib=peak_mib() - imported, seconds=second)


def jobs(quick: bool) -> list[Job]:
    """Return the rows: the same size for all, then one thing after the other grows."""
    if quick:
        return [Job(BOTH, TINY, k=2), Job(DEEPREG, TINY)]
    middle = LARGE._replace(channels=8)
    rows = [
        Job(what, setting, k=5 if what == EPISODE else 1)
        for setting in (SMALL, MIDDLE, middle)
        for what in (DEEPREG, EPISODE, ADAPTATION)
    ]
    rows += [Job(BOTH, LARGE._replace(recompute=on), k=2) for on in (False, True)]
    cubes = [SMALL._replace(fixed=(n,) * 3, moving=(n,) * 3) for n in (32, 48, 64, 96)]
    rows += [Job(EPISODE, setting) for setting in [*cubes, middle]]
    rows += [Job(EPISODE, SMALL, k=k, processes=3) for k in (1, 10, 50)]
    rows += [Job(EPISODE, SMALL, m=m) for m in (2, 4)]
    scales = SMALL.scales
    rows += [Job(EPISODE, SMALL._replace(scales=scales[:n])) for n in (1, 4)]
    return rows + [Job(EPISODE, SMALL, labels=n) for n in (4, 8)]


def run(quick: bool) -> Table:
    """Return the table of all rows; one that did not fit has no figures."""
    table = Table("Memory, and how it grows", COLUMNS, NOTE)
    for job in track(jobs(quick), "memory"):
        try:
            table.add(*row_of(job, [_run(job, quick) for _ in range(job.processes)]))
        except ChildError:
            if quick:
                raise
            table.add(*row_of(job, []))
    return table


def _run(job: Job, quick: bool) -> dict[str, Any]:
    """Measure a row in a process of its own."""
    options = job._asdict()
    del options["processes"]
    return measured("memory", quick, fresh=True, variables=_VARIABLES, **options)


def row_of(job: Job, found: list[dict[str, Any]]) -> tuple:
    """
    Return the cells of a row.

    :param job: what was called.
    :param found: what `measure` returned, by process; empty for what did not fit.
    """
    call = float(np.median([one["seconds"] for one in found])) if found else None
    peaks = [round(one["peak_mib"]) for one in found]
    peak = peaks[0] if len(peaks) == 1 else spread(peaks) if peaks else None
    steps = {
        EPISODE: job.k * job.m,
        DEEPREG: 1,
        ADAPTATION: UPDATES,
        BOTH: job.k * job.m + UPDATES,
    }[job.what]
    is_episode = job.what in (EPISODE, BOTH)
    return (
        job.what,
        job.setting.network,
        job.setting.grid,
        job.k if is_episode else None,
        job.m if is_episode else None,
        len(job.setting.scales),
        job.labels,
        peak,
        call,
        None if call is None else call / steps,
    )
