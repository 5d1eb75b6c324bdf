"""Run what is missing of a study, one run after another, in one folder."""

import functools
import itertools
import logging
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm import tqdm

from deepreg_meta.checkpoint_path import newest_checkpoint
from deepreg_meta.study.folder import (
    CONFIG,
    ERROR,
    ROWS,
    START,
    check_same,
    gather_rows,
    is_finished,
    is_trained,
    merged_config,
    missing_tests,
    run_folder,
    run_start,
    tested,
    write_whole,
)
from deepreg_meta.study.rows import FIELD_FILE, case_rows
from deepreg_meta.study.schedule import Run
from deepreg_meta.study.testing import Trainer, forget_graphs, predict_epochs
from deepreg_meta.study.worker import in_processes, output_into

logger = logging.getLogger(__name__)


def run_study(
    runs: Sequence[Run],
    output: str | Path,
    train: Trainer | None = None,
    predict: Trainer | None = None,
    gpu: str | None = "",
    jobs: int = 1,
) -> dict[str, str]:
    """
    Run a study, but for the runs that are finished; an interrupted one goes on.

    :param runs: of `schedule.plan_runs`.
    :param output: folder of the study.
    :param train: called as `deepreg_meta.train.train`, which is the default.
    :param predict: called as `deepreg_meta.predict.predict_checkpoints`, which is the
        default.
    :param gpu: as of `train`; "" is the CPU.
    :param jobs: number of runs at a time, as of `worker.in_processes`.
    :return: of the runs that failed, the reason by the name of the run; they are left
        out of `rows.csv` and tried again by the next call. So are those that start
        from them.
    """
    output = Path(output)
    failures: dict[str, str] = {}
    missing = _missing_runs(runs, output)
    attempt = functools.partial(
        _attempt, output=output, train=train, predict=predict, gpu=gpu, quiet=jobs > 1
    )
    lost = functools.partial(_lost, output=output)
    with tqdm(
        total=len(runs), initial=len(runs) - len(missing), unit="run", desc="study"
    ) as bar:
        for depth in sorted({run.depth for run in missing}):  # starts before the rest
            level = [run for run in missing if run.depth == depth]
            for run, reason in in_processes(attempt, level, jobs, lost):
                if reason:
                    failures[run.name] = reason
                    logger.error("%s failed: %s", run.name, reason)
                gather_rows(runs, output)  # what is there can be looked at meanwhile
                bar.set_postfix_str(run.name)
                bar.update(1)
    gather_rows(runs, output)
    return failures


def _missing_runs(runs: Sequence[Run], output: Path) -> list[Run]:
    """Return the runs to do, those among them whose weights alone are missing."""
    missing = [run for run in runs if not is_finished(run, output)]
    names = {run.name for run in missing}
    for run in sorted(runs, key=lambda run: -run.depth):  # what starts before its start
        start = run_start(run, output) if run.name in names else ""
        if start and not list(Path(start).glob("save/*.index")):
            names.add(run.start)
    return [run for run in runs if run.name in names]


def _attempt(
    run: Run,
    output: Path,
    train: Trainer | None,
    predict: Trainer | None,
    gpu: str | None,
    quiet: bool,
) -> str:
    """Finish a run; return why it failed, or nothing. No run may lose the others."""
    folder = run_folder(run, output)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with output_into(folder / "output.txt") if quiet else nullcontext():
            finish_run(run, output, train, predict, gpu)
    except Exception as err:
        (folder / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
        return str(err) or repr(err)
    return ""


def _lost(run: Run, output: Path) -> str:
    """Say why a run failed whose process did not live to say it."""
    reason = "its process was ended from outside; it may have run out of memory"
    write_whole(run_folder(run, output) / ERROR, f"{reason}\n")
    return reason


def finish_run(
    run: Run,
    output: Path,
    train: Trainer | None = None,
    predict: Trainer | None = None,
    gpu: str | None = "",
) -> pd.DataFrame:
    """
    Train where training has not ended, test, and write the rows.

    :param run: of the study.
    :param output: folder of the study.
    :param train: as of `run_study`.
    :param predict: as of `run_study`.
    :param gpu: as of `run_study`.
    :return: the rows.
    """
    folder = run_folder(run, output)
    check_same(run, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR).unlink(missing_ok=True)
    config = merged_config(run)
    write_whole(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
    start = run_start(run, output)
    if start:
        write_whole(folder / START, run.start)
    table = tested(folder)
    missing = missing_tests(run, table)
    if missing and table is not None and not list(folder.glob("save/*.index")):
        # rows of a network that was trained elsewhere do not go with those of another
        (folder / ROWS).unlink()
        table, missing = None, missing_tests(run, None)
    _train(folder, train, gpu, start)
    for (test, adaptation), own in itertools.groupby(missing, lambda one: one[:2]):
        epochs = [epoch for _, _, epoch in own]
        for epoch, results in predict_epochs(
            folder, run, test, epochs, predict, gpu, folder / "tests", adaptation
        ):
            head = {
                "method": run.method,
                "data": run.data,
                "test": test,
                "seed": run.seed,
                "sweep": run.sweep,
                "setting": run.setting,
                "adaptation": adaptation,
                "epoch": epoch,
            }
            rows = [head | row for row in case_rows(results, run.tests[test])]
            for path in results.glob(f"*/{FIELD_FILE}"):
                path.unlink()  # measured; the figures of a case are in its row
            # after every test: an interruption loses no more than one
            table = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
            write_whole(folder / ROWS, table.to_csv(index=False))
    return table


def _train(
    folder: Path,
    train: Trainer | None,
    gpu: str | None,
    start: str = "",
) -> None:
    """Train, or go on where the newest checkpoint ends."""
    if train is None:
        from deepreg_meta.train import train as our_train

        train = our_train
    forget_graphs()
    if is_trained(folder):
        return
    options: dict[str, Any] = {"ckpt_path": ""}
    if list(folder.glob("save/*.index")):
        options["ckpt_path"] = newest_checkpoint(folder)
    elif start:
        if not is_trained(Path(start)):  # it failed, perhaps on its way
            raise ValueError(
                f"{start}: expected a training that has ended, to start from, got none."
            )
        options = {"ckpt_path": start, "fine_tune": True}
    train(
        config_path=[str(folder / CONFIG)],
        gpu=gpu,
        log_dir=folder.name,
        log_root=str(folder.parent),
        **options,
    )
