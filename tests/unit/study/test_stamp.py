"""Tests of deepreg_meta/study/stamp.py: which data two folders hold."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepreg_meta.study.stamp import (
    NOWHERE,
    STAMP,
    Written,
    check_data,
    digest,
    prepare_once,
)


def voxels_of(path: Path):
    return np.frombuffer(path.read_bytes(), np.uint8)


@pytest.fixture
def prepare(tmp_path):
    """:return: a function that has one data set written, and how often it was."""
    calls = []

    def write(folder: Path) -> Written:
        assert list(folder.iterdir()) == []
        calls.append(folder)
        (folder / "image").write_bytes(b"123")
        rows = [("a", "2", "test"), ("a", "1", "train")]
        return Written(["a"], rows, [folder / "image"])

    def prepare(**settings):
        return prepare_once(tmp_path / "data", settings, write, voxels_of, "set")

    return prepare, calls


def test_data_sets_are_written_once_for_the_same_settings(prepare, tmp_path):
    prepare, calls = prepare
    data = tmp_path / "data"
    assert prepare(seed=0, sides=(2, 3)) == prepare(seed=0, sides=(2, 3)) == ["a"]
    assert len(calls) == 1
    assert (data / "splits.csv").read_text() == (
        "set,patient,split\na,1,train\na,2,test\n"
    )
    first = json.loads((data / STAMP).read_text())
    (data / "image").write_bytes(b"by hand")
    prepare(seed=1, sides=(2, 3))
    assert len(calls) == 2 and (data / "image").read_bytes() == b"123"
    second = json.loads((data / STAMP).read_text())
    assert first["digest"] == second["digest"] and second["seed"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_without_a_source_what_is_there_is_kept(prepare, tmp_path, monkeypatch):
    """A folder is the same by whatever name it goes."""
    prepare, calls = prepare
    monkeypatch.chdir(tmp_path)
    prepare(seed=0, source=NOWHERE)
    prepare(seed=0, source="scans")
    assert len(calls) == 2
    for source in (NOWHERE, str(tmp_path / "scans"), "./scans"):
        prepare(seed=0, source=source)
    assert len(calls) == 2
    prepare(seed=0, source="others")
    prepare(seed=1, source=NOWHERE)
    assert len(calls) == 4


def test_what_an_interruption_left_is_written_anew(tmp_path, prepare):
    """And the data of before are kept till then."""
    prepare[0](seed=0)

    def broken(folder: Path) -> Written:
        (folder / "half").touch()
        raise KeyboardInterrupt

    data = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        prepare_once(data, {"seed": 1}, broken, voxels_of)
    assert json.loads((data / STAMP).read_text())["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    prepare[0](seed=1)
    assert not (data / "half").exists()
    assert json.loads((data / STAMP).read_text())["seed"] == 1


def test_a_folder_of_something_else_is_left_alone(prepare, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").touch()
    with pytest.raises(ValueError, match="data: expected a new or empty folder"):
        prepare[0](seed=0)
    assert (tmp_path / "data" / "mine").exists() and prepare[1] == []


def test_data_that_moved_are_the_same_and_others_are_refused(tmp_path):
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / STAMP).write_text('{"digest": "0", "source": "/here"}')
    check_data(data, output)
    (data / STAMP).write_text('{"digest": "0", "source": "/there"}')
    check_data(data, output)
    (data / STAMP).write_text('{"digest": "1", "source": "/there"}')
    with pytest.raises(ValueError, match='same data, got one of {"digest": "0"}'):
        check_data(data, output)


def test_a_digest_knows_splits_names_and_voxels_and_no_order(tmp_path):
    splits = tmp_path / "splits.csv"
    splits.write_text("a,train")
    paths = [tmp_path / "a", tmp_path / "b"]
    voxels = {"a": np.arange(3), "b": np.arange(3, 6)}

    def number(files):
        return digest(tmp_path, splits, files, lambda path: voxels[path.name])

    first = number(paths)
    assert number(paths[::-1]) == first
    assert number(paths[:1]) != first
    voxels["b"] = np.array([3, 4, 6])
    other = number(paths)
    splits.write_text("a,test")
    assert len({first, other, number(paths)}) == 3
