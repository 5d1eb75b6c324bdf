"""
What a run leaves in its folder of a study.

    <output>/runs/<run>/run.yaml     the configuration, as it was merged
    <output>/runs/<run>/start.txt    the run whose weights it started from
    <output>/runs/<run>/log.csv      losses; save/ has the checkpoints
    <output>/runs/<run>/test_*.yaml  what the tests set beside it
    <output>/runs/<run>/tests/<test> what `deepreg_predict` wrote
    <output>/runs/<run>/rows.csv     one row per test case; a run ends with all of them
    <output>/runs/<run>/error.txt    why a run failed
    <output>/runs/<run>/output.txt   what it printed, when several run at a time
    <output>/rows.csv                the rows of all runs
"""

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from deepreg_meta.checkpoint_path import epoch_of, newest_checkpoint
from deepreg_meta.config.files import Merged, read_files
from deepreg_meta.study.schedule import Run

RUNS, ROWS, ERROR = "runs", "rows.csv", "error.txt"
CONFIG, START = "run.yaml", "start.txt"
# columns that may be empty; `epoch` is that of a checkpoint, -1 the end of training
_WORDS = ("sweep", "setting", "adaptation")
_NAMES = ("case", "method", "data", "test", *_WORDS)
LAST = -1


def run_folder(run: Run, output: Path) -> Path:
    """Return the folder of a run."""
    return output / RUNS / run.name


def run_start(run: Run, output: Path) -> str:
    """
    Return the folder of the run whose weights a run starts from.

    :param run: of the study.
    :param output: folder of the study.
    :return: "" for random weights.
    """
    return str(output / RUNS / run.start) if run.start else ""


def clear_leftovers(output: Path) -> None:
    """
    Remove the passing folders of tests that were killed while they wrote.

    :param output: folder of a study that nobody else writes to.
    """
    for path in (output / RUNS).glob("*/tests/*/.*"):
        if path.is_dir():
            shutil.rmtree(path)


def merged_config(run: Run) -> dict[str, Any]:
    """Return the whole mapping that a run is configured by."""
    merged = read_files(run.files)
    merged.update(run.overrides, "")
    return merged.raw


def test_file(test: str, adaptation: str) -> str:
    """Return the name of the file with what a test sets."""
    return f"test_{test_name(test, adaptation)}.yaml"


def test_name(test: str, adaptation: str) -> str:
    """Return what the results of a test are named, those of a checkpoint aside."""
    return f"{test}--{adaptation}" if adaptation else test


def test_mapping(run: Run, test: str, adaptation: str) -> dict[str, Any]:
    """
    Return what a test sets beside the configuration of training.

    :param run: of the study.
    :param test: name of one of its test sets.
    :param adaptation: name of one of its adaptations.
    """
    merged = Merged({}, {}, ())
    merged.update(run.test_config, "")
    merged.update({"dataset": {"dir": {"test": run.tests[test]}}}, "")
    if run.adaptations.get(adaptation):
        merged.update({"adapt": dict(run.adaptations[adaptation])}, "")
    return merged.raw


def is_finished(run: Run, output: Path) -> bool:
    """
    Say whether a run is complete.

    :raises ValueError: when its folder holds a run of another configuration.
    """
    folder = run_folder(run, output)
    check_same(run, folder)
    return not missing_tests(run, tested(folder))


def is_trained(folder: Path) -> bool:
    """Say whether the weights that a training ended with are in the folder of a run."""
    if not list(folder.glob("save/*.index")):
        return False
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    return epoch_of(newest_checkpoint(folder)) >= config["train"]["epochs"]


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
    # by converters, so that names such as 1 or None stay what they are
    table = pd.read_csv(path, converters=dict.fromkeys(_NAMES, str))
    given = {name: table.get(name, "") for name in _WORDS}
    return table.assign(**given, epoch=table.get("epoch", LAST))


def tested(folder: Path) -> pd.DataFrame | None:
    """Return the rows that a run has so far, None before the first."""
    path = folder / ROWS
    return _read_rows(path) if path.is_file() else None


def missing_tests(run: Run, table: pd.DataFrame | None) -> list[tuple[str, str, int]]:
    """Return the tests, how they are adapted to, and the epochs, without rows yet."""
    epochs = run.checkpoints or (LAST,)
    pairs = itertools.product(run.adapted_tests, epochs)
    wanted = [(*pair, epoch) for pair, epoch in pairs]
    if table is None:
        return wanted
    columns = (table[name] for name in ("test", "adaptation", "epoch"))
    found = set(zip(*columns, strict=True))
    return [one for one in wanted if one not in found]


def check_same(run: Run, folder: Path) -> None:
    """
    Refuse a folder that holds a run of another configuration.

    :param run: of the study.
    :param folder: its own; what it does not have is not compared.
    :raises ValueError: where training, the run it started from, or a test that has
        rows is another.
    """
    expected = {CONFIG: merged_config(run)}
    table = tested(folder)
    if table is not None:
        found = set(zip(table["test"], table["adaptation"], strict=True))
        expected |= {
            test_file(*pair): test_mapping(run, *pair)
            for pair in run.adapted_tests
            if pair in found
        }
    for name, mapping in expected.items():
        path = folder / name
        if not path.is_file():
            continue
        saved = yaml.safe_load(path.read_text(encoding="utf-8"))
        if without_folders(saved) != without_folders(mapping):
            raise _another(folder, f"one that differs in {name}")
    path = folder / START
    started = path.read_text(encoding="utf-8") if path.is_file() else run.start
    if started != run.start:
        raise _another(folder, f"one that started from {started or 'random weights'}")


def _another(folder: Path, got: str) -> ValueError:
    return ValueError(
        f"{folder}: expected no run, or one of the same configuration, got {got}. Take "
        "another --output, or remove the folder."
    )


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """
    Leave out where the data lie: they may be moved.

    :param config: of a run.
    :return: a copy without folders.
    """
    dataset = {k: v for k, v in (config.get("dataset") or {}).items() if k != "dir"}
    domains = dataset.pop("domains", None)
    if domains:  # a mapping of none is no configuration
        dataset["domains"] = {
            name: {k: v for k, v in domain.items() if k != "dir"}
            for name, domain in domains.items()
        }
    return {**config, "dataset": dataset}


def write_whole(path: Path, text: str) -> None:
    """
    Write a file at once, so that an interruption leaves none that is half there.

    :param path: of the file.
    :param text: all of it.
    """
    part = path.with_name(f".{path.name}.tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
