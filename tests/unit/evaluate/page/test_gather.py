"""Laws and errors of deepreg_meta.evaluate.page.gather."""

import pytest

from deepreg_meta.evaluate.page.gather import gather
from tests.report_helpers import write_run


def run_names(studies):
    return [[run.name for run in study.runs] for study in studies]


def test_runs_are_named_after_their_folders_and_parts_are_no_names(tmp_path):
    write_run(tmp_path / "k1" / "test")
    write_run(tmp_path / "k9" / "test")
    write_run(tmp_path / "pair")
    studies = gather([tmp_path / "k1", tmp_path / "k9" / "test", tmp_path / "pair"])
    assert run_names(studies) == [["k1", "k9"], ["pair"]]
    assert [study.split for study in studies] == ["test", ""]


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path):
    for above in ("monday", "tuesday"):
        write_run(tmp_path / above / "run" / "test")
    studies = gather([tmp_path / "monday" / "run", tmp_path / "tuesday" / "run"])
    assert run_names(studies) == [["monday/run", "tuesday/run"]]


def test_splits_of_one_run_are_never_put_together(tmp_path):
    for split in ("test", "valid"):
        write_run(tmp_path / "one" / split)
    found = gather([tmp_path / "one"])
    assert run_names(found) == [["one"], ["one"]]
    assert [study.split for study in found] == ["test", "valid"]
    found = gather([tmp_path / "one" / "test", tmp_path / "one" / "valid"])
    assert [study.split for study in found] == ["test", "valid"]
    assert run_names(found) == [["one/test"], ["one/valid"]]


def test_parts_of_a_run_that_are_no_splits_keep_their_names(tmp_path):
    for part in ("a", "b"):
        write_run(tmp_path / "one" / part)
    assert run_names(gather([tmp_path / "one"])) == [["one/a", "one/b"]]


def test_names_can_be_given(tmp_path):
    runs = [write_run(tmp_path / name / "test") for name in ("one", "two")]
    assert run_names(gather(runs, ["k = 1", "k = 9"])) == [["k = 1", "k = 9"]]
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="--names: expected 2 distinct names"):
            gather(runs, names)


def test_a_folder_is_compared_with_itself_by_nobody(tmp_path):
    folder = write_run(tmp_path / "one" / "test")
    with pytest.raises(ValueError, match="each folder once, got .*test twice"):
        gather([folder, tmp_path / "one"])
