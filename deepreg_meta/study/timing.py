"""The time of a registration by each method, with nothing beside it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from deepreg_meta.machine import processor
from deepreg_meta.study.folder import ROWS, run_folder, write_whole
from deepreg_meta.study.schedule import Run
from deepreg_meta.study.testing import Trainer, predict_test

SECONDS = "seconds.csv"


def time_methods(
    runs: Sequence[Run],
    output: str | Path,
    predict: Trainer | None = None,
    gpu: str | None = "",
) -> pd.DataFrame:
    """
    Register a test set once more with one finished run of each method, one by one.

    The seconds of `rows.csv` are measured while other runs share the machine. Images
    are of one size, so the test set does not matter: it is the first one.

    :param runs: of the plan; of each method the first is taken that is no sweep's and
        has its weights.
    :param output: folder of the study; `seconds.csv` there keeps what was measured,
        and methods that it has are not timed again, unless on another machine.
    :param predict: as of `run.run_study`.
    :param gpu: as of `run.run_study`.
    :return: `method`, `seconds`, the median over the cases, `least` and `most`, and
        `cases`, their number, and `processor`.
    """
    output = Path(output)
    path, here = output / SECONDS, processor()
    # times of two machines are no comparison of methods
    lines = [
        line
        for line in known_seconds(output).to_dict("records")
        if line.get("processor") == here
    ]
    known = {line["method"] for line in lines}
    for run in runs:
        folder = run_folder(run, output)
        if run.sweep or run.method in known or not (folder / ROWS).is_file():
            continue
        if not list(folder.glob("save/*.index")):
            continue  # it came without its weights, from another machine
        test = next(iter(run.tests))
        results = predict_test(folder, run, test, predict, gpu, folder / "timing")
        seconds = pd.read_csv(results / "metrics.csv")["seconds"]
        lines.append(
            {
                "method": run.method,
                "seconds": seconds.median(),
                "least": seconds.min(),
                "most": seconds.max(),
                "cases": len(seconds),
                "processor": here,
            }
        )
        known.add(run.method)
        write_whole(path, pd.DataFrame(lines).to_csv(index=False))
    return pd.DataFrame(lines) if lines else known_seconds(output)


def known_seconds(output: str | Path) -> pd.DataFrame:
    """Return the table that `time_methods` wrote, empty where it has not yet."""
    path = Path(output) / SECONDS
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()
