"""Tests of the data sets that the phantom writes."""

import json

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.dataset import phantom
from deepreg_meta.dataset.phantom import make_case, write
from deepreg_meta.dataset.phantom.write import (
    default_phantom_dir,
    write_dataset,
    write_unpaired_dataset,
)

MOVING, FIXED = (16, 18, 14), (14, 16, 12)


def test_package_offers_the_writers():
    assert phantom.write_dataset is write_dataset
    assert phantom.write_unpaired_dataset is write_unpaired_dataset
    assert phantom.default_phantom_dir is default_phantom_dir


def test_paired_layout_holds_the_cases_of_the_seed(tmp_path):
    out = write_dataset(tmp_path / "set", 2, 0, 1, 3, MOVING, FIXED)
    assert out == tmp_path / "set"
    names = sorted(path.name for path in (out / "train" / "moving_images").iterdir())
    assert names == ["case000000.nii.gz", "case000001.nii.gz"]
    assert list((out / "valid").iterdir()) == []
    case = make_case(3 * 300_000, MOVING, FIXED)  # first training seed
    for kind, shape in (("moving", MOVING), ("fixed", FIXED)):
        image = nib.load(out / "train" / f"{kind}_images" / names[0])
        assert image.shape == shape
        np.testing.assert_allclose(image.header.get_zooms(), case.spacing_mm, rtol=1e-5)
        expected = getattr(case, f"{kind}_image")
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
    assert "SYNTHETIC" in (out / "README.txt").read_text()


def test_splits_share_no_case(tmp_path):
    out = write_dataset(tmp_path / "set", 1, 1, 1, 0, MOVING, FIXED)
    first = [
        nib.load(out / split / "fixed_images" / "case000000.nii.gz").get_fdata()
        for split in ("train", "valid", "test")
    ]
    assert (first[0] != first[1]).any() and (first[1] != first[2]).any()


def test_complete_set_is_reused_and_other_content_is_left_alone(tmp_path, monkeypatch):
    out = write_dataset(tmp_path / "set", 1, 0, 0, 0, MOVING, FIXED)

    def refuse(*args):
        raise AssertionError("a case was made again")

    monkeypatch.setattr(write, "make_case", refuse)
    assert write_dataset(out, 1, 0, 0, 0, MOVING, FIXED) == out
    with pytest.raises(ValueError, match="out_dir: expected a new or empty folder"):
        write_dataset(out, 2, 0, 0, 0, MOVING, FIXED)
    (out / "train" / "fixed_labels" / "case000000.nii.gz").unlink()
    with pytest.raises(ValueError, match="this very phantom data set"):
        write_dataset(out, 1, 0, 0, 0, MOVING, FIXED)


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    real = write.make_case

    def interrupt_second(seed, *shapes):
        if seed == 1:
            raise KeyboardInterrupt
        return real(seed, *shapes)

    monkeypatch.setattr(write, "make_case", interrupt_second)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", 2, 0, 0, 0, MOVING, FIXED)
    assert list(tmp_path.iterdir()) == []


def test_unpaired_layout_holds_images_and_gland_labels(tmp_path):
    out = write_unpaired_dataset(tmp_path / "set", 2, 0, 0, 0, FIXED)
    assert sorted(p.name for p in (out / "train").iterdir()) == ["images", "labels"]
    for i in range(2):
        name = f"case{i:06d}.nii.gz"
        assert nib.load(out / "train" / "images" / name).shape == FIXED
        label = np.asarray(nib.load(out / "train" / "labels" / name).dataobj)
        np.testing.assert_array_equal(label, make_case(i, FIXED, FIXED).fixed_labels[0])
    assert json.loads((out / "phantom.json").read_text())["kind"] == "unpaired"


def test_bad_counts_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="num_valid: expected an integer .* got -1"):
        write_dataset(tmp_path / "set", 1, -1, 0, 0, MOVING, FIXED)
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_follows_environment_and_parameters(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPREG_META_CACHE", str(tmp_path))
    first = default_phantom_dir({"seed": 0, "num_train": 1})
    assert first.parent == tmp_path
    assert first == default_phantom_dir({"num_train": 1, "seed": 0})
    assert first != default_phantom_dir({"num_train": 2, "seed": 0})
    monkeypatch.setattr(write, "GENERATOR_VERSION", -1)
    assert first != default_phantom_dir({"seed": 0, "num_train": 1})
    monkeypatch.delenv("DEEPREG_META_CACHE")
    assert default_phantom_dir({}).parent.name == "deepreg_meta"
