"""Tests of deepreg_meta/results/folder.py."""

import stat

import pytest

from deepreg_meta.results.folder import check_replaceable, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_files_come_together(tmp_path):
    """The folder is not there before; its parents are made; others may read it."""
    folder = tmp_path / "a" / "b"
    with whole_folder(folder) as working:
        (working / "metrics.csv").write_text("1")
        (working / "case").mkdir()
        (working / "case" / "one.txt").write_text("2")
        assert not folder.exists()
    assert names(folder) == ["case", "metrics.csv"]
    assert names(tmp_path / "a") == ["b"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_earlier_results_are_replaced_as_a_whole(tmp_path):
    """No file of theirs stays."""
    folder = tmp_path / "run"
    for text in ("old", "new"):
        with whole_folder(folder) as working:
            (working / f"{text}.txt").write_text(text)
    assert names(folder) == ["new.txt"] and names(tmp_path) == ["run"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_half_written_is_left(tmp_path, error):
    """Earlier results are as they were."""
    folder = tmp_path / "run"
    with whole_folder(folder) as working:
        (working / "metrics.csv").write_text("old")
    with pytest.raises(error), whole_folder(folder) as working:
        (working / "metrics.csv").write_text("new")
        raise error
    assert names(tmp_path) == ["run"]
    assert (folder / "metrics.csv").read_text() == "old"
    with pytest.raises(error), whole_folder(tmp_path / "a" / "b" / "c"):
        raise error
    assert names(tmp_path) == ["run"]  # no empty parents either
    with pytest.raises(error), whole_folder(tmp_path / "other"):
        raise error
    assert names(tmp_path) == ["run"]


def test_a_folder_of_results_may_be_replaced_and_one_that_is_not_there_made(tmp_path):
    """An empty one too."""
    check_replaceable(tmp_path / "none", "--output")
    check_replaceable(tmp_path, "--output")
    (tmp_path / "metrics.csv").touch()
    (tmp_path / "columns.md").touch()
    check_replaceable(tmp_path, "--output")


def test_any_other_folder_is_refused(tmp_path):
    """A file in its place as well; the flag and the name are told."""
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(ValueError, match=f"--output: {path} exists and holds no"):
            check_replaceable(path, "--output")


@pytest.mark.parametrize(
    "name", ["notes.txt", "case7/mine.nii.gz", "scans/a.nii.gz", "report/plan.txt"]
)
def test_files_of_others_among_results_are_never_deleted(tmp_path, name):
    """Results alone may be replaced, whatever of them there is."""
    folder = tmp_path / "run"
    for path in (
        "labels.csv", "case7/figure.png", "case7/warped_label_a b.nii.gz",
        "case7/warped_image.png",
        "case7/transform_inverse.h5", "learn2reg/disp_1_2.nii.gz", "columns.md",
        "moving_landmarks_on_fixed.mrk.json",
    ):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("ours")
    (folder / "metrics.csv").write_text("case,dsc_before\ncase7,0.5\n")
    check_replaceable(folder, "--output")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("precious")
    with pytest.raises(ValueError, match=rf"--output: .* files that are none: {name}"):
        check_replaceable(folder, "--output")


def test_results_of_another_kind_have_a_mark_and_files_of_their_own(tmp_path):
    """What belongs to neither kind stays where it is."""
    kind = dict(mark="tracking.csv", patterns=("tracking.csv", "fields/[0-9]*.nii.gz"))
    folder = tmp_path / "run"
    for path in ("tracking.csv", "fields/001.nii.gz"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    check_replaceable(folder, "--output", **kind)
    with pytest.raises(ValueError, match="holds no results"):
        check_replaceable(folder, "--output")
    for path in ("metrics.csv", "fields/mine.nii.gz"):
        (folder / path).touch()
        with pytest.raises(ValueError, match=f"files that are none: {path}"):
            check_replaceable(folder, "--output", **kind)
        (folder / path).unlink()
