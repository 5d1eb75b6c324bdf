"""Tests of deepreg_meta/inspection/facts.py."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.inspection import facts as facts_module
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.facts import (
    as_trained,
    infer_indices,
    intensities,
    label_facts,
    read_label,
    read_voxels,
    split_label,
)
from tests.unit.dataset.pictures import SHAPE as SHAPE_OF_PICTURES
from tests.unit.dataset.pictures import label_map, save_png

SHAPE = (5, 6, 7)


def test_intensities_are_counted(rng):
    """0 to 200 in steps of 1: percentile 1 is 2, percentile 99 is 198."""
    volume = rng.permutation(np.arange(201.0)).reshape(3, 67, 1)
    found = intensities(volume)
    assert (found.low, found.p1, found.median) == (0, 2, 100)
    assert (found.p99, found.high, found.num_bad) == (198, 200, 0)


def test_bad_voxels_are_counted_and_left_out(rng):
    volume = np.arange(9.0).reshape(3, 3, 1)
    volume[0, 0], volume[1, 1], volume[2, 2] = np.nan, np.inf, -np.inf
    found = intensities(volume)
    assert (found.num_bad, found.low, found.high, found.median) == (3, 1, 7, 4)
    nothing = intensities(np.full(SHAPE, np.nan))
    assert nothing.num_bad == 210 and np.isnan(nothing.low)


def test_equal_voxels_have_one_digest(rng):
    """Whatever their type; not another order, nor another shape."""
    volume = rng.integers(0, 255, SHAPE)
    digest = intensities(volume.astype(np.uint8)).digest
    assert intensities(volume.astype(np.float64)).digest == digest
    assert intensities(volume[::-1]).digest != digest
    assert intensities(volume.reshape(6, 5, 7)).digest != digest


def test_large_images_are_sampled_for_percentiles_only(rng, monkeypatch):
    monkeypatch.setattr(facts_module, "_MAX_SAMPLE", 50)
    volume = np.arange(210.0).reshape(SHAPE)  # every fifth voxel: 0, 5, ..., 205
    found = intensities(volume)
    assert (found.low, found.median, found.high) == (0, 102.5, 209)


def test_channels_are_split_at_a_half():
    label = np.zeros((*SHAPE, 2))
    label[0, 0, :3, 0], label[1, :2, 0, 1], label[2, 2, 2, 1] = 1, 0.5, 0.49
    masks = split_label(label, None)
    assert {name: mask.sum() for name, mask in masks.items()} == {
        "label_0": 3,
        "label_1": 2,
    }
    assert split_label(label[..., 0], None)["label_0"].sum() == 3


def test_index_maps_are_split_by_their_integers():
    label = np.arange(4).repeat(3).reshape(4, 3, 1)
    masks = split_label(label, {"apex": 3, "gland": 1, "none": 7})
    assert list(masks) == ["apex", "gland", "none"]
    assert masks["apex"][3].all() and not masks["apex"][:3].any()
    assert masks["gland"].sum() == 3 and not masks["none"].any()


def test_a_label_is_described_by_values_and_sizes():
    label = np.zeros(SHAPE)
    label[0, 0, :4], label[1, 1, :2] = 2, 5
    label[4, 4, 4] = np.nan
    found = label_facts(label, {"gland": 2, "apex": 5})
    assert found.values == (0, 2, 5)
    assert found.num_voxels == {"gland": 4, "apex": 2}


@pytest.mark.parametrize(
    ("values", "indices"),
    [
        ([0, 1], None),
        ([0, 0.5, 1], None),
        ([0, 1, 3], {"1": 1, "3": 3}),
        ([0, 255], {"255": 255}),
        ([0, 1.5, 3], None),
        ([-1, 0, 2], None),
    ],
)
def test_whole_numbers_beyond_one_are_taken_for_an_index_map(values, indices):
    label = np.resize(np.array(values, float), (3, 4, 5))
    assert infer_indices(label) == indices
    assert infer_indices(label[..., None]) is None


def save(path, voxels):
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return Entry("fixed_images", str(path))


def test_a_single_channel_loses_its_axis(tmp_path, rng):
    """As in DeepReg's loader; a 2-D image gets one."""
    volume = rng.random((*SHAPE, 1)).astype(np.float32)
    voxels, found = read_voxels(save(tmp_path / "a.nii.gz", volume))
    assert found == []
    np.testing.assert_array_equal(voxels, volume[..., 0])
    flat = save(tmp_path / "b.nii.gz", volume[:, :, 0, 0])
    assert read_voxels(flat)[0].shape == (5, 6, 1)


def test_a_label_of_a_picture_may_be_a_mask_of_255(tmp_path):
    entry = Entry("labels", str(save_png(tmp_path / "a.png", label_map(255))))
    stored, found = read_label(entry, SHAPE_OF_PICTURES[:2])
    assert found == [] and stored.shape == SHAPE_OF_PICTURES
    np.testing.assert_array_equal(stored[..., 0], label_map(255))
    voxels = as_trained(stored, entry, is_map=False)
    np.testing.assert_array_equal(voxels[..., 0], label_map())
    assert as_trained(stored, entry, is_map=True) is stored


def test_the_values_of_a_label_are_those_of_the_file():
    """What training makes of them tells the sizes."""
    stored = np.zeros(SHAPE)
    stored[0, 0, :4] = 255
    found = label_facts(stored / 255, None, stored)
    assert found.values == (0, 255) and found.num_voxels == {"label_0": 4}


def test_channels_of_a_2d_label_get_an_axis_before_them(tmp_path, rng):
    entry = save(tmp_path / "a.nii", rng.integers(0, 2, (5, 6, 3)).astype(np.uint8))
    assert read_label(entry, (5, 6))[0].shape == (5, 6, 1, 3)
    assert read_label(entry, (5, 6, 3))[0].shape == (5, 6, 3)
    assert read_label(entry, None)[0].shape == (5, 6, 3)


def test_voxels_that_end_too_early_are_a_problem(tmp_path, rng):
    entry = save(tmp_path / "a.nii", rng.random(SHAPE))
    path = tmp_path / "a.nii"
    path.write_bytes(path.read_bytes()[:-99])
    voxels, [finding] = read_voxels(entry)
    assert voxels is None and finding.level == "problem"
    assert finding.text.startswith(f"{path}: cannot be read (")
