"""Tests of deepreg_meta/inspection/overview.py."""

import numpy as np
import pytest
from PIL import Image

from deepreg_meta.inspection.overview import draw_overview, make_tile
from tests.helpers import ball

SHAPE = (12, 10, 8)


def tile(rng, title="train case0", labeled=True, orientation="RAS"):
    label = ball(SHAPE, (6, 5, 2), 2.5)
    labels = (label, ball(SHAPE, (6, 5, 3), 2.5)) if labeled else (None, None)
    images = rng.random(SHAPE) + label, rng.random(SHAPE)
    return make_tile(title, images, labels, (1, 2, 1.5), orientation, "Dice 0.5")


def test_of_a_pair_one_plane_is_kept_through_the_middle_of_the_fixed_label(rng):
    """The axial one, slice 2 of axis 2."""
    rng_copy = np.random.default_rng(0)
    found = tile(rng)
    whole = rng_copy.random(SHAPE) + ball(SHAPE, (6, 5, 2), 2.5)
    assert found.plane.axis == 2 and found.plane.shape == (12, 10, 1)
    assert [image.shape for image in found.images] == [(12, 10, 1)] * 2
    np.testing.assert_array_equal(found.images[0][..., 0], whole[:, :, 2])
    np.testing.assert_array_equal(
        found.labels["before"][..., 0], ball(SHAPE, (6, 5, 3), 2.5)[:, :, 2]
    )


def test_without_labels_it_is_the_plane_in_the_middle(rng):
    found = tile(rng, labeled=False, orientation=None)
    assert found.plane.axis == 2 and found.labels == {"fixed": None, "before": None}


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), int)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_the_picture_grows_with_the_pairs(tmp_path, rng, number):
    tiles = [tile(rng, f"case{i}", labeled=i != 1) for i in range(number)]
    path = draw_overview(tmp_path / "new" / "overview.png", tiles)
    height, width = pixels_of(path).shape[:2]
    assert width > (900 if number > 1 else 450)
    assert height > 180 * -(-number // 2)


def test_three_panels_show_fixed_moving_and_outlines(tmp_path, rng):
    """Outlines alone are coloured, above the legend at the foot."""
    pixels = pixels_of(draw_overview(tmp_path / "a.png", [tile(rng)]))
    panels = np.array_split(pixels[:-60], 3, axis=1)
    coloured = [int((np.ptp(panel, axis=-1) > 60).sum()) for panel in panels]
    assert coloured[:2] == [0, 0] and coloured[2] > 50
    width = min(panel.shape[1] for panel in panels)
    first, second, third = (panel[60:, 10 : width - 10].mean(-1) for panel in panels)
    assert np.abs(first - third).mean() < np.abs(first - second).mean() / 2


def test_without_labels_nothing_is_coloured(tmp_path, rng):
    path = draw_overview(tmp_path / "a.png", [tile(rng, labeled=False)])
    assert (np.ptp(pixels_of(path), axis=-1) == 0).all()
