"""Tests of deepreg_meta/study/stamp.py: which data two folders hold."""

import numpy as np
import pytest

from deepreg_meta.study.stamp import STAMP, check_data, digest


def test_data_that_moved_are_the_same_and_others_are_refused(tmp_path):
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / STAMP).write_text('{"seed": 0, "source": "/here"}')
    check_data(data, output)
    (data / STAMP).write_text('{"seed": 0, "source": "/there"}')
    check_data(data, output)
    (data / STAMP).write_text('{"seed": 1, "source": "/there"}')
    with pytest.raises(ValueError, match='same data, got one of {"seed": 0}'):
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
