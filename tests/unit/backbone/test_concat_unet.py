"""Tests of deepreg_meta/backbone/concat_unet.py; its results: test_voxelmorph.py."""

import pytest
import tensorflow as tf

from deepreg_meta.backbone.concat_unet import ConcatUNet
from deepreg_meta.backbone.voxelmorph import VoxelMorph1, VoxelMorph2


def images(rng, size):
    return tf.constant(rng.normal(size=(2, *size, 2)), tf.float32)


def test_widths_of_ones_own(rng):
    model = ConcatUNet((9, 6, 1), depth=2, encoder=[3, 5], decoder=[4, 6, 2, 7])
    model(images(rng, (9, 6, 1)))
    shapes = {tuple(v.shape[3:]) for v in model.weights if v.shape.rank == 5}
    assert shapes == {(2, 3), (3, 5), (5, 4), (4 + 3, 6), (6, 2), (2 + 2, 7), (7, 3)}
    assert model.get_config()["decoder"] == [4, 6, 2, 7]


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(depth=0), "depth: expected an integer >= 1, got 0"),
        (dict(head_stddev=-1), "head_stddev: expected a number >= 0, got -1"),
        (dict(depth=2, encoder=[4]), r"encoder: expected 2 integers >= 1 .*got \[4\]"),
        (dict(depth=1, encoder=[0]), r"encoder: expected 1 .*got \[0\]"),
        (dict(depth=2, decoder=[4, 4]), r"decoder: expected at least .*got \[4, 4\]"),
        (dict(depth=1, decoder=[4, 4, 0]), r"decoder: .*got \[4, 4, 0\]"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"train.backbone.{message}"):
        ConcatUNet((8, 8, 1), **options)


def test_half_size_needs_one_width_less():
    assert VoxelMorph1((8, 8, 1), depth=2, decoder=[4, 4, 4])._levels == [2, 1, 1]
    with pytest.raises(ValueError, match="decoder: expected at least 4"):
        VoxelMorph2((8, 8, 1), depth=2, decoder=[4, 4, 4])
    assert ConcatUNet((8, 8, 1), depth=1)._levels == [1, 1, 0, 0]
