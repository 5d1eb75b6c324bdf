"""Laws and values of deepreg_meta.evaluate.field_panel."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from deepreg_meta.evaluate import field_panel as field
from deepreg_meta.evaluate.metric import jacobian_determinant
from deepreg_meta.evaluate.plane import Slice

SHAPE = (5, 6, 7)
SPACING = (1.0, 2.0, 3.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("orientation", [None, "LIP"])
def test_a_plane_has_the_determinants_of_the_whole_field(rng, axis, orientation):
    """At the first and the last plane, too, where differences are one-sided."""
    ddf = rng.normal(size=(*SHAPE, 3))
    whole = jacobian_determinant(ddf)
    for index in (0, 2, SHAPE[axis] - 1):
        plane = Slice(axis, index, SHAPE, SPACING, orientation)
        found = field.determinant_of(plane, ddf)
        np.testing.assert_allclose(found, plane.take(whole))


def test_a_length_is_that_of_the_vector_in_space():
    ddf = np.broadcast_to([6.0, 1.0, 1.0], (*SHAPE, 3))  # (6, 2, 3) mm
    lengths = field.magnitude_of(Slice(1, 2, SHAPE, SPACING), ddf)
    np.testing.assert_allclose(lengths, np.full((5, 7), 7.0))
    assert field.largest([lengths, np.array([[np.nan, 2.0]])]) == 7.0
    assert field.largest([np.zeros((2, 2))]) == 1.0


def test_the_ends_of_the_jacobian_bar_are_as_far_from_1_on_both_sides():
    assert field.jacobian_end([np.full((3, 3), 0.9)]) == 1.25
    assert field.jacobian_end([np.full((3, 3), 0.55)]) == 2.0  # 1 / 0.55 = 1.8
    assert field.jacobian_end([np.full((3, 3), 2.5)]) == 3.0
    assert field.jacobian_end([np.full((3, 3), 99.0)]) == 10.0
    assert field.jacobian_end([np.array([[-1.0, np.nan]])]) == 1.25


def test_shrinking_is_blue_growing_is_red_and_folding_is_black():
    plane = Slice(2, 0, (2, 3, 1), (1.0, 1.0, 1.0))
    determinant = np.array([[0.5, 1.0, 2.0], [0.0, -3.0, np.nan]])
    image = field.draw_jacobian(Figure().add_subplot(), plane, determinant, 2.0)
    colours = image.to_rgba(image.get_array())
    blue, white, red = colours[0]
    assert blue[2] > blue[0] + 0.3 and red[0] > red[2] + 0.3
    assert white[:3].min() > 0.95
    np.testing.assert_allclose(colours[1], [to_rgba(field.FOLD_COLOUR)] * 3)
    # the map stays brighter than black, so that a fold shows anywhere
    assert field.jacobian_colours()(np.linspace(0, 1, 9))[:, :3].max(axis=1).min() > 0.5


def test_one_fold_in_a_large_plane_is_not_averaged_away():
    determinant = np.full((700, 5), 2.0)
    determinant[::2] = 0.5  # logarithms of both cancel
    determinant[333, 3] = -0.1
    plane = Slice(2, 0, (700, 5, 1), (1.0, 1.0, 1.0))
    image = field.draw_jacobian(Figure().add_subplot(), plane, determinant, 2.0)
    shown = image.get_array()
    assert shown.shape == (175, 5)  # 700 / 4: at most 220
    assert shown.mask.sum() == 1 and shown.mask[333 // 4, 3]
    np.testing.assert_allclose(shown.compressed(), 1.0)
    assert tuple(image.get_extent()) == (-0.5, 4.5, 699.5, -0.5)


def test_the_last_block_of_a_plane_keeps_the_size_of_the_others():
    """221 rows fall into blocks of 2, the last of which has one row only."""
    plane = Slice(2, 0, (221, 3, 1), (2.0, 1.0, 1.0))
    image = field.draw_jacobian(Figure().add_subplot(), plane, np.ones((221, 3)), 2.0)
    assert image.get_array().shape == (111, 3)
    assert tuple(image.get_extent()) == (-0.5, 2.5, 443.0, -1.0)  # 111 * 2 rows of 2 mm


def test_lines_of_a_large_grid_are_thinned_out():
    axes = Figure().add_subplot()
    plane = Slice(2, 0, (400, 360, 1), (1.0, 1.0, 1.0))
    field.draw_grid(axes, plane, np.zeros((400, 360, 1, 3), np.float32))
    segments = axes.collections[0].get_segments()
    assert len(segments) == 20 + 18  # every 20th row and column
    assert max(len(points) for points in segments) <= 200
