"""Tests of deepreg_meta/inspection/data.py."""

import shutil
from dataclasses import replace

import pytest

from deepreg_meta.inspection.data import check_data
from tests.unit.dataset.pictures import write_pictures
from tests.unit.inspection.examples import FIXED, MOVING, affine, change, texts, titles

MODES = ("train", "valid", "test")


def test_good_data_is_read_without_a_word(data, configure):
    report = check_data(configure(data), MODES, fast=False)
    assert report.findings == [] and report.tiles == []
    assert [(s.mode, len(s.cases), len(s.files)) for s in report.splits] == [
        ("train", 3, 12),
        ("test", 2, 8),
    ]
    row = report.splits[1].rows[1]
    assert (row["split"], row["case"], row["num_problems"]) == ("test", "case1", 0)
    assert row["fixed_file"] == str(data / "test" / "fixed_images" / "case1.nii.gz")
    assert row["overlap_by_header"] == 1 and row["centres_apart_mm"] == 0


def test_all_problems_of_all_splits_are_found_at_once(data, configure):
    """No file stops the others."""
    (data / "train" / "fixed_images" / "case0.nii.gz").unlink()
    change(data / "train" / "moving_images" / "case1.nii.gz", lambda image: image * 0)
    (data / "test" / "moving_labels" / "case0.nii.gz").write_bytes(b"broken")
    change(data / "test" / "fixed_labels" / "case1.nii.gz", lambda label: 2 * label)
    report = check_data(configure(data), MODES, fast=False)
    assert (
        titles(report.findings)
        == titles(report.findings, "problem")
        == {
            "cases without a partner",
            "images that cannot be used",
            "files that cannot be read",
            "labels that cannot be used",
        }
    )
    assert [split.is_complete for split in report.splits] == [False, True]


def test_a_missing_folder_leaves_the_other_splits(data, configure):
    shutil.rmtree(data / "train" / "moving_labels")
    report = check_data(configure(data), MODES, fast=True)
    [line] = texts(report.findings, "folders that are missing")
    assert "dataset.dir.train in mine.yaml: expected moving_labels" in line
    assert [split.mode for split in report.splits] == ["test"]


def test_training_data_in_the_test_set_is_a_problem(data, configure):
    """A copy under another name, with another header."""
    image = data / "test" / "fixed_images" / "case0.nii.gz"
    shutil.copy(data / "train" / "fixed_images" / "case2.nii.gz", image)
    change(image, affine=affine(FIXED, centre=(11, -20, 30)))
    shutil.copy(image, data / "test" / "fixed_labels" / "other.txt")
    report = check_data(configure(data), MODES, fast=False)
    [line] = texts(report.findings, "images that two splits share")
    assert str(data / "train" / "fixed_images" / "case2.nii.gz") in line
    assert str(image) in line


def test_training_data_of_a_domain_in_the_test_set_is_a_problem(data, configure):
    """An image that two domains train on is not: they may share it."""
    folder = {"dir": {"train": str(data / "train")}}
    config = configure(
        data,
        dir={"train": None, "valid": None, "test": str(data / "test")},
        domains={"brain": folder, "chest": folder},
    )
    report = check_data(config, MODES, fast=False)
    assert titles(report.findings, "problem") == set()
    image = data / "test" / "fixed_images" / "case0.nii.gz"
    shutil.copy(data / "train" / "fixed_images" / "case2.nii.gz", image)
    found = check_data(config, MODES, fast=False).findings
    [line] = texts(found, "images that two splits share")
    assert str(image) in line and "case2.nii.gz" in line


def move_apart(folder):
    far = affine(MOVING, centre=(10, -20, 500))
    for kind in ("moving_images", "moving_labels"):
        change(folder / kind / "case0.nii.gz", affine=far)


@pytest.mark.parametrize("fast", [True, False])
def test_no_overlap_with_align_affine_is_a_problem(data, configure, fast):
    move_apart(data / "test")
    report = check_data(configure(data, "affine"), MODES, fast)
    [line] = texts(report.findings, "pairs that do not overlap")
    assert "their centres are 470 mm apart" in line
    row = report.splits[1].rows[0]
    assert row["overlap_by_header"] == 0
    assert row["centres_apart_mm"] == pytest.approx(470)


def test_without_the_headers_that_does_not_matter(data, configure):
    move_apart(data / "test")
    assert check_data(configure(data, "centroid"), MODES, fast=True).findings == []


def test_files_unlike_the_others_are_found_over_all_splits(data, configure):
    """Four of five agree."""
    path = data / "test" / "fixed_images" / "case1.nii.gz"
    change(path, lambda image: image[:, :, :-1])
    change(
        data / "test" / "fixed_labels" / "case1.nii.gz", lambda label: label[:, :, :-1]
    )
    found = check_data(configure(data), MODES, fast=True).findings
    first, second = texts(found, "files unlike the others")
    assert f"{path}: shape 12 x 10 x 7, while it is 12 x 10 x 8 in 4 of 5" in first
    assert "fixed_labels" in second


def test_splits_without_any_folder_are_refused(data, configure):
    with pytest.raises(ValueError, match="--mode: expected a split with a folder"):
        check_data(configure(data), ("valid",), fast=True)


def test_without_folders_the_phantom_is_checked(configure, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPREG_META_CACHE", str(tmp_path / "cache"))
    config = configure(
        tmp_path,
        dir=dict(train=None, valid=None, test=None),
        phantom=dict(num_train=2, num_valid=0, num_test=1),
        moving_image_shape=[16, 18, 14],
        fixed_image_shape=[14, 16, 12],
    )
    report = check_data(config, MODES, fast=True)
    assert [(s.mode, len(s.cases)) for s in report.splits] == [
        ("train", 2),
        ("test", 1),
    ]
    assert report.findings == []


def test_good_pictures_are_read_without_a_word(tmp_path, configure):
    write_pictures(tmp_path / "train", ("one", "two", "three"), value=255)
    options = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [7, 5])
    options |= {"format": "png", "dir": {"train": str(tmp_path / "train")}}
    config = configure(tmp_path, **options)
    report = check_data(config, MODES, fast=False)
    assert report.findings == []
    [split] = report.splits
    assert len(split.files) == 12 and "overlap_by_header" not in split.rows[0]


def test_2d_files_are_no_volumes(data, configure):
    """Each is named, where its network takes volumes."""
    change(data / "train" / "moving_images" / "case0.nii.gz", lambda x: x[..., 0])
    report = check_data(configure(data), MODES, fast=False)
    [line] = texts(report.findings, "images that cannot be used")
    assert "moving_images/case0.nii.gz: expected a 3-D image, got 2-D" in line


def test_deepreg_trains_on_folders_alone(data, configure):
    config = configure(data, method="ddf")
    no_train = config.dataset.dir.model_copy(update={"train": None})
    dataset = config.dataset.model_copy(update={"dir": no_train})
    report = check_data(replace(config, dataset=dataset), ["train", "test"], fast=True)
    lines = texts(report.findings, "data that training refuses")
    assert len(lines) == 1 and lines[0].startswith("dataset.dir.train in ")
    assert "with train.method ddf" in lines[0]
