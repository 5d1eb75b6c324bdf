"""Tests of files that are written whole or not at all."""

import pytest

from deepreg_meta.geometry.whole_file import suffix_of, whole_file


@pytest.mark.parametrize(
    "name, suffix",
    [
        ("a.nii.gz", ".nii.gz"),
        ("b/A.1.NII.GZ", ".nii.gz"),
        ("a.mrk.json", ".mrk.json"),
        ("a.json", ".json"),
        ("a.b.h5", ".h5"),
        ("none", ""),
    ],
)
def test_suffixes_of_two_parts_are_whole(name, suffix):
    assert suffix_of(name) == suffix


def test_the_file_is_there_when_all_is_written(tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    with whole_file(path) as part:
        assert part.parent == path.parent and part.name.endswith(".nii.gz")
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("old")

    def fail():
        with whole_file(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
