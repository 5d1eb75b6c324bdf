"""
Run what is missing of a study, one run after another, in one folder.

    <output>/runs/<run>/run.yaml     the configuration, as it was merged
    <output>/runs/<run>/log.csv      losses; save/ has the checkpoints
    <output>/runs/<run>/tests/<test> what `deepreg_predict` wrote
    <output>/runs/<run>/rows.csv     one row per test case; a run ends with all of them
    <output>/runs/<run>/error.txt    why a run failed
    <output>/runs/<run>/output.txt   what it printed, when several run at a time
    <output>/rows.csv                the rows of all runs
"""

import functools
import itertools
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm import tqdm

from deepreg_meta.checkpoint_path import epoch_of, newest_checkpoint
from deepreg_meta.config.files import Merged, read_files
from deepreg_meta.results.outputs import Outputs
from deepreg_meta.study.rows import FIELD_FILE, case_rows, has_truth
from deepreg_meta.study.schedule import Run
from deepreg_meta.study.worker import in_processes, output_into

logger = logging.getLogger(__name__)

RUNS, ROWS, ERROR = "runs", "rows.csv", "error.txt"
# columns that may be empty; `epoch` is that of a checkpoint, -1 the end of training
_WORDS = ("sweep", "setting", "adaptation")
LAST = -1
Trainer = Callable[..., Any]


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
        out of `rows.csv` and tried again by the next call.
    """
    output = Path(output)
    failures: dict[str, str] = {}
    missing = _missing_runs(runs, output)
    attempt = functools.partial(
        _attempt, output=output, train=train, predict=predict, gpu=gpu, quiet=jobs > 1
    )
    with tqdm(
        total=len(runs), initial=len(runs) - len(missing), unit="run", desc="study"
    ) as bar:
        for depth in sorted({run.depth for run in missing}):  # starts before the rest
            level = [run for run in missing if run.depth == depth]
            for run, reason in in_processes(attempt, level, jobs):
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


def run_folder(run: Run, output: Path) -> Path:
    """Return the folder of a run."""
    return output / RUNS / run.name


def is_finished(run: Run, output: Path) -> bool:
    """
    Say whether a run is complete.

    :raises ValueError: when its folder holds a run of another configuration.
    """
    folder = run_folder(run, output)
    _check_same(run, folder)
    return not _missing_tests(run, _tested(folder))


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
    _check_same(run, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR).unlink(missing_ok=True)
    config = merged_config(run)
    write_whole(folder / "run.yaml", yaml.safe_dump(config, sort_keys=False))
    _train(folder, config, train, gpu, run_start(run, output))
    table = _tested(folder)
    missing = _missing_tests(run, table)
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


def run_start(run: Run, output: Path) -> str:
    """
    Return the folder of the run whose weights a run starts from.

    :param run: of the study.
    :param output: folder of the study.
    :return: "" for random weights.
    """
    return str(output / RUNS / run.start) if run.start else ""


def merged_config(run: Run) -> dict[str, Any]:
    """Return the whole mapping that a run is configured by."""
    merged = read_files(run.files)
    merged.update(run.overrides, "")
    return merged.raw


def gather_rows(runs: Sequence[Run], output: Path) -> pd.DataFrame:
    """
    Write the rows of all finished runs into one file.

    :param runs: of the study.
    :param output: folder of the study.
    :return: the rows; empty before the first run has finished.
    """
    paths = [run_folder(run, output) / ROWS for run in runs]
    tables = [_read_rows(path) for path in paths if path.is_file()]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if tables:
        write_whole(output / ROWS, table.to_csv(index=False))
    return table


def _read_rows(path: Path) -> pd.DataFrame:
    """Read rows; what has no sweep, setting or adaptation has an empty one."""
    types = {"case": str, **dict.fromkeys(_WORDS, str)}
    table = pd.read_csv(path, dtype=types)
    given = {name: table.get(name, "") for name in _WORDS}
    table = table.assign(**given, epoch=table.get("epoch", LAST))
    return table.fillna(dict.fromkeys(_WORDS, ""))


def _tested(folder: Path) -> pd.DataFrame | None:
    """Return the rows that a run has so far, None before the first."""
    path = folder / ROWS
    return _read_rows(path) if path.is_file() else None


def _missing_tests(run: Run, table: pd.DataFrame | None) -> list[tuple[str, str, int]]:
    """Return the tests, how they are adapted to, and the epochs, without rows yet."""
    epochs = run.checkpoints or (LAST,)
    wanted = itertools.product(run.tests, run.adaptations, epochs)
    if table is None:
        return list(wanted)
    columns = (table[name] for name in ("test", "adaptation", "epoch"))
    found = set(zip(*columns, strict=True))
    return [one for one in wanted if one not in found]


def _check_same(run: Run, folder: Path) -> None:
    """Refuse a folder that holds a run of another configuration."""
    path = folder / "run.yaml"
    if not path.is_file():
        return
    saved = yaml.safe_load(path.read_text(encoding="utf-8"))
    if without_folders(saved) != without_folders(merged_config(run)):
        raise ValueError(
            f"{folder}: expected no run, or one of the same configuration, got one of "
            "another. Take another --output, or remove the folder."
        )


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """
    Leave out where the data lie: they may be moved.

    :param config: of a run.
    :return: a copy without folders.
    """
    dataset = {k: v for k, v in (config.get("dataset") or {}).items() if k != "dir"}
    domains = dataset.get("domains") or {}
    dataset["domains"] = {
        name: {k: v for k, v in domain.items() if k != "dir"}
        for name, domain in domains.items()
    }
    return {**config, "dataset": dataset}


def _train(
    folder: Path,
    config: dict[str, Any],
    train: Trainer | None,
    gpu: str | None,
    start: str = "",
) -> None:
    """Train, or go on where the newest checkpoint ends."""
    if train is None:
        from deepreg_meta.train import train as our_train

        train = our_train
    _forget_graphs()
    checkpoint = ""
    if list(folder.glob("save/*.index")):
        checkpoint = newest_checkpoint(folder)
        if epoch_of(checkpoint) >= config["train"]["epochs"]:
            return
    options: dict[str, Any] = {"ckpt_path": checkpoint}
    if start and not checkpoint:
        options = {"ckpt_path": start, "fine_tune": True}
    train(
        config_path=[str(folder / "run.yaml")],
        gpu=gpu,
        log_dir=folder.name,
        log_root=str(folder.parent),
        **options,
    )


def predict_test(
    folder: Path,
    run: Run,
    test: str,
    predict: Trainer | None,
    gpu: str | None,
    log_root: Path,
    adaptation: str = "",
    epoch: int = LAST,
    outputs: Outputs | None = None,
) -> Path:
    """
    Register the cases of one test set.

    :param folder: of the run, which has been trained.
    :param run: of the study.
    :param test: name of the test set.
    :param predict: as of `run_study`.
    :param gpu: as of `run_study`.
    :param log_root: folder for the results, in which they have one named as the test
        and the adaptation.
    :param adaptation: name of one of the run's.
    :param epoch: of the checkpoint; -1 is the last one.
    :param outputs: files written of a pair; None writes fields where the truth is
        known, and else tables alone.
    :return: the folder of the results.
    """
    [(_, results)] = predict_epochs(
        folder, run, test, [epoch], predict, gpu, log_root, adaptation, outputs
    )
    return results


def predict_epochs(
    folder: Path,
    run: Run,
    test: str,
    epochs: Sequence[int],
    predict: Trainer | None,
    gpu: str | None,
    log_root: Path,
    adaptation: str = "",
    outputs: Outputs | None = None,
) -> Iterator[tuple[int, Path]]:
    """
    Register the cases of one test set with several checkpoints.

    :param epochs: of the checkpoints; the other parameters are those of
        `predict_test`.
    :return: epochs and folders of the results, each when it is done.
    """
    merged = Merged({}, {}, ())
    merged.update(run.test_config, "")
    merged.update({"dataset": {"dir": {"test": run.tests[test]}}}, "")
    if run.adaptations.get(adaptation):
        merged.update({"adapt": dict(run.adaptations[adaptation])}, "")
    name = f"{test}--{adaptation}" if adaptation else test
    extra = folder / f"test_{name}.yaml"
    write_whole(extra, yaml.safe_dump(merged.raw, sort_keys=False))
    if outputs is None:
        formats = ("nifti",) if has_truth(run.tests[test]) else ()
        outputs = Outputs(volumes=False, formats=formats, figure=False)
    log_dirs = {}
    for epoch in epochs:
        if epoch == LAST:
            log_dirs[str(folder)] = name
        else:
            checkpoint = folder / "save" / f"ckpt-{epoch}"
            log_dirs[str(checkpoint)] = f"{name}--epoch{epoch}"
    _forget_graphs()
    found = (predict or _predict_checkpoints)(
        log_dirs,
        mode="test",
        config_path=[str(folder / "config.yaml"), str(extra)],
        gpu=gpu,
        log_root=str(log_root),
        outputs=outputs,
    )
    for epoch, results in zip(epochs, found, strict=True):
        yield epoch, Path(results)


def _predict_checkpoints(*args: Any, **kwargs: Any) -> Iterator[Path]:
    """Call the default, which imports TensorFlow."""
    from deepreg_meta.predict import predict_checkpoints

    return predict_checkpoints(*args, **kwargs)


def _forget_graphs() -> None:
    """Let go of the last run's graphs, which a long study would pile up."""
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()


def write_whole(path: Path, text: str) -> None:
    """
    Write a file at once, so that an interruption leaves none that is half there.

    :param path: of the file.
    :param text: all of it.
    """
    part = path.with_name(f".{path.name}.tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
