"""Tests of deepreg_meta/inspection/pairs.py."""

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf  # noqa: F401  registers our entries

from deepreg_meta.inspection import pairs as pairs_module
from deepreg_meta.inspection.data import check_data
from deepreg_meta.inspection.pairs import score_pairs
from tests.unit.dataset.pictures import write_shifted
from tests.unit.inspection.examples import FIXED, SPACING, affine, change, texts, titles

MODES = ("train", "valid", "test")
pytestmark = pytest.mark.usefixtures("untraced")


def check(config):
    """:return: the report of a configuration whose pairs were scored."""
    report = check_data(config, MODES, fast=False)
    score_pairs(report, config)
    return report


def test_every_pair_of_good_data_is_scored(data, configure):
    report = check(configure(data))
    assert report.findings == [] and report.splits[0].unit == "mm"
    rows = [row for split in report.splits for row in split.rows]
    assert len(rows) == 5
    for row in rows:
        assert row["tre_before_mm"] == pytest.approx(np.sqrt(3.25), abs=1e-4)
        assert row["overlap_aligned"] == 1 and row["dsc_before"] > 0.3
    assert [tile.title for tile in report.tiles][-1] == "test case1"
    assert len(report.tiles) == 5 and "Dice 0." in report.tiles[0].text


def test_pictures_are_few_and_from_all_splits(data, configure, monkeypatch):
    monkeypatch.setattr(pairs_module, "MAX_TILES", 3)
    tiles = check(configure(data)).tiles
    assert [t.title for t in tiles] == ["train case0", "train case2", "test case1"]


def test_with_an_overridden_spacing_lengths_are_voxels(data, configure):
    """|(1, 0, 1)| voxels of (1, 1, 1)."""
    report = check(configure(data, spacing_mm=[1, 1, 1]))
    row = report.splits[0].rows[0]
    assert report.splits[0].unit == "voxels" and "tre_before_mm" not in row
    assert row["tre_before_vox"] == pytest.approx(np.sqrt(2), abs=1e-4)


def test_pairs_of_pictures_are_scored_in_pixels_and_shown_as_they_are(
    tmp_path, configure
):
    """Five columns, two of which are shifted away: Dice 3 / 5."""
    write_shifted(tmp_path / "train", ("one", "two"), value=255)
    options = dict.fromkeys(("moving_image_shape", "fixed_image_shape"), [20, 16])
    options |= {"format": "png", "dir": {"train": str(tmp_path / "train")}}
    report = check(configure(tmp_path, **options))
    assert report.findings == [] and report.splits[0].unit == "voxels"
    for row in report.splits[0].rows:
        assert row["dsc_before"] == pytest.approx(0.6)
        assert row["overlap_aligned"] == 1
    plane = report.tiles[0].plane
    assert (plane.orientation, plane.row_axis, plane.column_axis) == ("picture", 1, 0)
    assert report.tiles[0].images[0].shape == (20, 16, 1)


def test_a_pair_with_a_problem_is_passed_over_and_the_others_are_scored(
    data, configure
):
    change(data / "train" / "moving_images" / "case1.nii.gz", lambda image: image * 0)
    report = check(configure(data))
    assert titles(report.findings) == {"images that cannot be used"}
    scored = [("dsc_before" in row) for row in report.splits[0].rows]
    assert scored == [True, False, True]
    assert report.splits[0].rows[1]["num_problems"] == 1


def test_an_incomplete_split_is_not_scored_and_that_is_said(data, configure):
    (data / "train" / "moving_labels" / "case1.nii.gz").unlink()
    report = check(configure(data))
    [line] = texts(report.findings, "pairs that are not scored")
    assert line == "train: no pair is scored until its files are complete."
    assert all("dsc_before" in row for row in report.splits[1].rows)


def test_what_training_would_refuse_is_a_problem(data, configure):
    """Intensities from 0 to 120, clipped to where there are none."""
    clip = [dict(name="clip", range=[1000.0, 2000.0])]
    report = check(configure(data, intensity=clip))
    assert titles(report.findings) == {"data that training refuses"}
    lines = texts(report.findings, "data that training refuses")
    assert all("expected an image with contrast after" in line for line in lines)
    assert not any("dsc_before" in row for split in report.splits for row in split.rows)


def test_a_label_channel_that_the_configuration_needs_is_a_problem(data, configure):
    report = check(configure(data, adapt={"labels": [0, 4]}))
    lines = texts(report.findings, "data that training refuses")
    assert any("expected a channel for adapt.labels 4" in line for line in lines)


def test_an_unknown_name_in_the_configuration_is_a_problem(data, configure):
    config = configure(data)
    config.raw["train"]["backbone"]["name"] = "locale_norm"
    [line] = texts(check(config).findings, "configuration")
    assert "train.backbone.name" in line and "Did you mean `local_norm`?" in line


def test_what_the_model_refuses_is_a_problem(data, configure):
    config = configure(data)
    config.raw["train"]["backbone"]["normalization"] = "page"
    [line] = texts(check(config).findings, "configuration")
    assert line.startswith("train.backbone.normalization in ")


def test_labels_that_do_not_touch_are_a_warning(data, configure):
    """Of 12 voxels from 4 to 16 mm four lie beyond 12.5 mm."""
    for kind in ("moving_images", "moving_labels"):
        far = affine((13, 11, 9), centre=(19, -20, 30))
        change(data / "test" / kind / "case0.nii.gz", affine=far)
    report = check(configure(data, "affine"))
    title = "pairs that do not meet after the initial alignment"
    lines = texts(report.findings, title)
    assert titles(report.findings, "problem") == set()
    assert any("test case0: the first labels do not touch" in line for line in lines)
    assert any("test case0: 33% of the fixed grid" in line for line in lines)


def hot(image):
    image[0, 0, 0] = 1e5
    return image


def test_a_few_bright_voxels_that_darken_the_rest_are_a_warning(data, configure):
    """All but one take 120 of 100000; clipped in the configuration they do not."""
    change(data / "train" / "fixed_images" / "case0.nii.gz", hot)
    [line] = texts(check(configure(data)).findings, "images that a few voxels darken")
    assert line.startswith("train case0: 98 % of the fixed image's voxels take 0.1%")
    clip = [dict(name="clip", percentiles=[0.0, 99.0])]
    assert check(configure(data, intensity=clip)).findings == []


def write_unpaired(folder, seeds):
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        label = np.zeros(FIXED, np.uint8)
        label[3:8, 2:7, 2:6] = 1
        for kind, volume in (("images", 50 * rng.random(FIXED)), ("labels", label)):
            image = nib.Nifti1Image(volume.astype(np.float32), affine(FIXED, SPACING))
            image.header.set_xyzt_units("mm")
            nib.save(image, folder / kind / f"case{seed}.nii.gz")


def test_unpaired_images_are_scored_as_deepreg_joins_them(tmp_path, configure):
    write_unpaired(tmp_path / "train", (0, 1, 2, 3))
    write_unpaired(tmp_path / "test", (4, 5))
    config = configure(tmp_path, type="unpaired", image_shape=list(FIXED),
                       moving_image_shape=None, fixed_image_shape=None)  # fmt: skip
    report = check(config)
    assert report.findings == []
    rows = [row for split in report.splits for row in split.rows]
    assert [row["split"] for row in rows] == ["train", "train", "test"]
    for row in rows:
        moving, fixed = row["case"].split("_to_")
        assert f"images/{moving}.nii.gz" in row["moving_file"]
        assert f"images/{fixed}.nii.gz" in row["fixed_file"]
        assert row["dsc_before"] == 1 and row["num_problems"] == 0


def test_grouped_data_is_not_scored_and_that_is_said(data, configure):
    config = configure(data, "corner", method="ddf")
    grouped = config.dataset.model_copy(update={"type": "grouped"})
    report = check_data(config, MODES, fast=True)
    score_pairs(report, config.__class__(**{**vars(config), "dataset": grouped}))
    assert titles(report.findings) == {"pairs that are not scored"}
