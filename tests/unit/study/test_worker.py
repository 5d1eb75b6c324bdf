"""Tests of deepreg_meta/study/worker.py: work in several processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepreg_meta.study.worker import in_processes

ROOT = Path(__file__).resolve().parents[3]


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


def beat(path):
    """Write for a minute, as long as this process lives."""
    for i in range(600):
        Path(path).write_text(str(i))
        time.sleep(0.1)


def test_no_process_outlives_a_parent_that_was_killed(tmp_path):
    """As batch systems end a study: with no exception to clean up after."""
    paths = [tmp_path / "first", tmp_path / "second"]
    code = (
        "import sys; from test_worker import beat\n"
        "from deepreg_meta.study.worker import in_processes\n"
        "if __name__ == '__main__': list(in_processes(beat, sys.argv[1:], 2))"
    )
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        wait_until(lambda: all(path.exists() for path in paths))
    finally:
        parent.kill()
        parent.wait()
    time.sleep(1)
    last = [path.read_text() for path in paths]
    time.sleep(1)
    assert [path.read_text() for path in paths] == last


def wait_until(condition, limit=60):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_all_work_is_done_once(tmp_path):
    names = [f"{tmp_path}/{i}0" for i in range(5)]
    for name in names:
        Path(name).mkdir()
    found = dict(in_processes(begin, names, jobs=2))
    assert found == {name: name for name in names}


def test_no_processes_are_refused():
    with pytest.raises(ValueError, match="jobs: expected an integer >= 1, got 0"):
        list(in_processes(begin, ["a"], jobs=0))
