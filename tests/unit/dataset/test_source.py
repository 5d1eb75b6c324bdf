"""Tests of what the files of a volume hold."""

import dataclasses

import numpy as np
import pytest

from deepreg_meta.dataset.source import RawLabel, Source, split_labels
from deepreg_meta.geometry.grid import Grid
from tests.unit.dataset.examples import label, place, raw_volume

SHAPE = (5, 6, 7)


def raw_label(voxels, name=None):
    return RawLabel("a.nii", voxels, place(), name)


def test_channels_come_first_and_are_numbered():
    labels, names = split_labels([raw_label(label(SHAPE, 3))], None)
    assert labels.shape == (3, *SHAPE) and labels.dtype == np.float32
    assert names == ("label_0", "label_1", "label_2")
    np.testing.assert_array_equal(labels[2], label(SHAPE, 3)[..., 2])
    labels, names = split_labels([raw_label(0.5 * label(SHAPE))], None)
    assert labels.shape == (1, *SHAPE) and names == ("label_0",)
    assert labels.max() == 0.5


def test_an_index_map_is_split_in_the_order_declared():
    index_map = np.zeros(SHAPE, np.int16)
    index_map[0], index_map[1, :2] = 7, 2
    indices = {"zone": 7, "gland": 2}
    labels, names = split_labels([raw_label(index_map)], indices)
    assert names == ("zone", "gland")
    assert labels.sum(axis=(1, 2, 3)).tolist() == [42, 14]


def test_several_files_are_a_channel_each_whatever_indices_are_declared():
    files = [raw_label(label(SHAPE), "gland"), raw_label(1 - label(SHAPE), "rest")]
    labels, names = split_labels(files, {"gland": 5})
    assert names == ("gland", "rest") and labels.dtype == np.float32
    np.testing.assert_array_equal(labels.sum(axis=0), 1)


def test_without_files_there_are_no_labels():
    assert split_labels([], {"gland": 1}) == (None, ())


def test_a_volume_names_the_files_of_its_labels():
    raw = raw_volume(label(SHAPE), labels=[label(SHAPE), label(SHAPE)])
    assert raw.label_paths == ("label_0.nii", "label_1.nii")


@pytest.mark.parametrize("layout", ["picture", "volume"])
def test_a_mask_of_255_is_one_of_1_in_pictures_without_indices(layout):
    where = dataclasses.replace(place(), layout=layout)
    mask = RawLabel("a", np.float32(255) * label((5, 6, 1)), where)
    largest = 1 if layout == "picture" else 255
    assert mask.values(None).max() == largest
    assert mask.values({"lung": 255}).max() == 255
    named = dataclasses.replace(mask, name="lung")
    assert named.values({"other": 3}).max() == largest
    assert split_labels([mask], {"lung": 255})[0].sum() == mask.voxels.sum() / 255


def test_files_are_shown_by_what_they_state():
    grid = Grid((5, 6, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))
    source = Source("a", grid, lambda: (None, None))
    assert source.display == "LPS"
    flat = dataclasses.replace(source, has_orientation=False)
    assert flat.display == "picture"  # as pairs of known truth made from PNG files
    grid = Grid((5, 6, 2), np.eye(4))
    assert dataclasses.replace(flat, grid=grid).display is None
    assert dataclasses.replace(source, layout="picture").display == "picture"
