"""Tests of deepreg_meta/results/folder.py."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deepreg_meta.results.folder import check_replaceable, claimed, whole_folder


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


@pytest.fixture(params=["here", "link", "mount", "locked"])
def fixed(request, tmp_path, monkeypatch):
    """:return: a folder with results that cannot be moved, and the name it goes by."""
    folder = tmp_path / "up" / "run"
    (folder / "case").mkdir(parents=True)
    (folder / "metrics.csv").write_text("old")
    (folder / "case" / "old.txt").write_text("old")
    if request.param == "here":
        monkeypatch.chdir(folder)
        return folder, Path(".")
    if request.param == "link":
        (tmp_path / "link").symlink_to(folder)
        return folder, tmp_path / "link"
    if request.param == "mount":
        monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == folder)
    else:  # for users who are not root
        monkeypatch.setattr(
            os, "access", lambda path, mode: Path(path) != folder.parent
        )
    return folder, folder


def test_a_folder_that_cannot_be_moved_is_filled_where_it_is(fixed, tmp_path):
    folder, name = fixed
    inode = folder.stat().st_ino
    with whole_folder(name) as working:
        (working / "case").mkdir()
        (working / "case" / "new.txt").write_text("new")
        (working / "metrics.csv").write_text("new")
        assert (folder / "case" / "old.txt").is_file()
    assert names(folder) == ["case", "metrics.csv"]
    assert names(folder / "case") == ["new.txt"]
    assert (folder / "metrics.csv").read_text() == "new"
    assert names(folder.parent) == ["run"]
    assert (folder.stat().st_ino == inode) is (name != tmp_path / "link")
    assert (tmp_path / "link").is_symlink() is (name == tmp_path / "link")


@pytest.mark.parametrize("when", ["working", "replacing"])
def test_a_folder_that_cannot_be_moved_keeps_what_it_has(fixed, when, monkeypatch):
    folder, name = fixed
    rename = Path.rename

    def fail(path, target):
        is_new = {n.startswith(".run-") and ".old" not in n for n in path.parts[-2:]}
        if any(is_new):
            raise OSError("the disk is full")
        return rename(path, target)

    with (
        pytest.raises(OSError, match="the disk is full"),
        whole_folder(name) as working,
    ):
        (working / "metrics.csv").write_text("new")
        if when == "working":
            raise OSError("the disk is full")
        monkeypatch.setattr(Path, "rename", fail)
    assert names(folder) == ["case", "metrics.csv"]
    assert (folder / "metrics.csv").read_text() == "old"
    assert names(folder.parent) == ["run"]


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
        with pytest.raises(ValueError, match=f"--output: {path} exists and holds s"):
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
    with pytest.raises(ValueError, match="holds something else"):
        check_replaceable(folder, "--output")
    for path in ("metrics.csv", "fields/mine.nii.gz"):
        (folder / path).touch()
        with pytest.raises(ValueError, match=f"files that are none: {path}"):
            check_replaceable(folder, "--output", **kind)
        (folder / path).unlink()


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    with claimed(tmp_path, "it is taken"):
        code = (
            "import sys; from pathlib import Path\n"
            "from deepreg_meta.results.folder import claimed\n"
            "with claimed(Path(sys.argv[1]), 'it is taken'): pass"
        )
        found = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert found.returncode == 1
        assert "TakenError: it is taken" in found.stderr
    with claimed(tmp_path, "it is taken"):  # again, after its end
        assert not list(tmp_path.iterdir())
