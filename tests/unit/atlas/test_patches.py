"""Tests of deepreg_meta/atlas/patches.py."""

import numpy as np
import pytest

from deepreg_meta.atlas.patches import Patches, offsets

SHAPE = (5, 6, 7)


def reference(image, place, radius):
    """:return: a patch voxel by voxel, the border of the image going on."""
    values = []
    for step in offsets(image.shape, radius):
        at = np.clip(np.add(place, step), 0, np.array(image.shape) - 1)
        values.append(image[tuple(at)])
    values = np.array(values, float)
    return (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize("shape", [SHAPE, (6, 8, 1)])
@pytest.mark.parametrize("radius", [1, 2])
def test_patches_are_those_cut_voxel_by_voxel(rng, shape, radius):
    """At the corners too, and with one voxel across a slice."""
    image = rng.random(shape)
    places = np.argwhere(np.ones(shape))
    found = Patches(image, radius).cut(places)
    expected = [reference(image, place, radius) for place in places]
    assert found.shape[1] == (2 * radius + 1) ** (3 if shape[2] > 1 else 2)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_patch_does_not_know_the_scale_of_its_image(rng):
    """Nor its offset; its squares add up to one less than it has voxels."""
    image = rng.random(SHAPE)
    places = np.array([[0, 0, 0], [2, 3, 4]])
    found = Patches(image, 2).cut(places)
    scaled = Patches(-300 + 7.5 * image, 2).cut(places)
    np.testing.assert_allclose(found, scaled, atol=1e-10)
    np.testing.assert_allclose((found**2).sum(axis=1), 124, rtol=1e-12)


def test_a_patch_of_one_grey_value_is_zero(rng):
    """Also where rounding leaves a little, as interpolated padding does."""
    image = np.zeros(SHAPE, np.float32)
    image[4] = 1.0
    image[:2] = np.float32(1e-9) * rng.random((2, 6, 7)).astype(np.float32)
    patches = Patches(image, 1)
    assert not patches.cut(np.array([[1, 3, 3]])).any()
    assert patches.cut(np.array([[3, 3, 3]])).any()


def test_the_nearest_offsets_come_first():
    """None at first, then along the axes, then diagonals; none along one voxel."""
    steps = offsets((4, 4, 1), 1)
    assert steps.tolist()[0] == [0, 0, 0] and len(steps) == 9
    lengths = (steps**2).sum(axis=1)
    assert (np.diff(lengths) >= 0).all() and not steps[:, 2].any()


def test_a_search_finds_where_an_image_was_shifted_to(rng):
    """By (1, -1, 0); without a radius the patch at the voxel itself is taken."""
    image = rng.random((7, 8, 9))
    shifted = np.roll(image, (1, -1, 0), axis=(0, 1, 2))
    places = np.array([[3, 4, 4], [2, 3, 5]])
    own, other = Patches(image, 1), Patches(shifted, 1)
    wanted = own.cut(places)
    found = other.match(places, wanted, radius=1)
    np.testing.assert_array_equal(found.places, places + [1, -1, 0])
    np.testing.assert_allclose(found.patches, wanted, atol=1e-12)
    still = other.match(places, wanted)
    np.testing.assert_array_equal(still.places, places)
    np.testing.assert_array_equal(still.patches, other.cut(places))


def test_a_search_ends_at_the_border_and_prefers_the_voxel_itself():
    """Of patches all alike, and none is outside the image."""
    image = np.zeros((4, 5, 6))
    places = np.array([[0, 0, 0], [3, 4, 5]])
    patches = Patches(image, 1)
    found = patches.match(places, np.zeros((2, 27)), radius=2)
    np.testing.assert_array_equal(found.places, places)
    ramp = np.arange(4.0)[:, None, None] ** 2 * np.ones((4, 5, 6))
    wanted = -Patches(ramp, 1).cut(places)
    found = Patches(ramp, 1).match(places, wanted, radius=2)
    assert (found.places >= 0).all() and (found.places < (4, 5, 6)).all()
