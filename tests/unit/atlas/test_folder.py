"""Tests of deepreg_meta/atlas/folder.py."""

import pytest

from deepreg_meta.atlas.folder import ATLASES, check_output


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_new_an_empty_and_an_earlier_folder_may_be_written_to(tmp_path):
    check_output(tmp_path / "new")
    check_output(tmp_path)
    fill(tmp_path, ATLASES, "summary.csv", "t1/segmentation.nii.gz", "t1/figure.png")
    check_output(tmp_path)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["thesis.tex"], "thesis.tex"),
        (["segmentation.nii.gz"], "segmentation.nii.gz"),  # of whom?
        ([ATLASES, "t1/notes.txt"], "t1/notes.txt"),
        ([ATLASES, "t1/more/figure.png"], "t1/more/figure.png"),
    ],
)
def test_files_of_others_are_never_replaced(tmp_path, names, told):
    fill(tmp_path, *names)
    with pytest.raises(ValueError, match=f"--output: .*no earlier .*: {told}. Move"):
        check_output(tmp_path)


def test_of_many_files_three_are_named(tmp_path):
    fill(tmp_path, *(f"{i}.txt" for i in range(5)))
    with pytest.raises(ValueError, match=r"0\.txt, 1\.txt, 2\.txt and 2 more"):
        check_output(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    fill(tmp_path, "out")
    with pytest.raises(ValueError, match="expected a folder, got the file"):
        check_output(tmp_path / "out")
