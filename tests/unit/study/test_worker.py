"""Tests of deepreg_meta/study/worker.py: work in several processes."""

import time
from pathlib import Path

import pytest

from deepreg_meta.study.worker import in_processes


def begin(folder):
    """Say that it has begun, the first at once; then take its time."""
    (Path(folder) / "begun").touch()
    if not folder.endswith("0"):
        time.sleep(60)
    return folder


def test_an_interruption_ends_what_runs_and_what_waits(tmp_path):
    """The processes have their next items already; none may take them up."""
    folders = [tmp_path / str(i) for i in range(6)]
    for folder in folders:
        folder.mkdir()
    start = time.monotonic()
    work = in_processes(begin, [str(folder) for folder in folders], jobs=2)
    assert next(work)[0].endswith("0")
    with pytest.raises(KeyboardInterrupt):
        work.throw(KeyboardInterrupt)
    assert time.monotonic() - start < 50
    time.sleep(1)
    begun = [folder.name for folder in folders if (folder / "begun").exists()]
    assert "0" in begun and len(begun) <= 4 and "5" not in begun


def test_all_work_is_done_once(tmp_path):
    names = [f"{tmp_path}/{i}0" for i in range(5)]
    for name in names:
        Path(name).mkdir()
    found = dict(in_processes(begin, names, jobs=2))
    assert found == {name: name for name in names}


def test_no_processes_are_refused():
    with pytest.raises(ValueError, match="jobs: expected an integer >= 1, got 0"):
        list(in_processes(begin, ["a"], jobs=0))
