"""Laws and values of deepreg_meta.evaluate.panel (test_figure.py sees it at work)."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from deepreg_meta.evaluate import panel

SHAPE = (5, 6, 7)


def plane_of(axis, shape=SHAPE, spacing=(1.0, 2.0, 3.0)):
    return panel.Slice(axis, 0, shape, spacing)


@pytest.mark.parametrize(
    ("axis", "shape", "size"),
    [(2, (5, 6), (5, 12)), (1, (5, 7), (5, 21)), (0, (7, 6), (21, 12))],
)
def test_a_plane_has_the_rows_columns_and_lengths_of_its_axes(axis, shape, size):
    plane = plane_of(axis)
    assert plane.take(np.zeros(SHAPE)).shape == shape
    assert plane.take(np.zeros((*SHAPE, 3))).shape == (*shape, 3)
    assert plane.size == size
    assert tuple(len(x) for x in plane.coordinates()) == shape


def test_planes_pass_through_the_label_or_without_one_through_the_middle():
    label = np.zeros(SHAPE)
    label[1, 4, 5] = 1
    found = panel.choose_planes(SHAPE, (1, 1, 1), label)
    assert {plane.axis: plane.index for plane in found} == {0: 1, 1: 4, 2: 5}
    for nothing in (None, np.zeros(SHAPE)):
        found = panel.choose_planes(SHAPE, (1, 1, 1), nothing)
        assert {plane.axis: plane.index for plane in found} == {0: 2, 1: 2, 2: 3}


def test_black_is_set_by_the_whole_image_and_white_by_the_gland():
    image = np.arange(1001.0)
    image[0] = np.nan
    gland = image <= 501  # 1 % of 501 values: 496; of 1000: 11
    low, high = panel.window(image, gland)
    assert low == pytest.approx(10.99) and high == pytest.approx(496.0)
    flat = np.full(3, 4.0)
    assert panel.window(flat, flat > 0) == panel.window(flat, flat < 0) == (4.0, 5.0)


def test_a_contour_runs_where_the_label_passes_one_half_and_closes_at_the_border():
    axes = Figure().add_subplot()
    label = np.zeros((5, 6, 1))
    label[2:, 1:3] = 1  # touches the last row
    plane = panel.Slice(2, 0, label.shape, (1.0, 2.0, 1.0))
    panel.draw_contours(axes, plane, {"fixed": label, "before": None, "warped": None})
    (contour,) = axes.collections
    box = contour.get_paths()[0].get_extents()
    # columns 1 to 2 of 2 mm, half a voxel around; rows 2 to 4 of 1 mm
    np.testing.assert_allclose([box.x0, box.x1, box.y0, box.y1], [1, 5, 1.5, 4.5])


def test_lines_of_other_planes_cross_at_their_place():
    axes = Figure().add_subplot()
    planes = panel.choose_planes(SHAPE, (1.0, 2.0, 3.0), None)  # 2, 2 and 3
    panel.draw_cross(axes, planes[0], planes)  # rows 0, columns 1
    across, along = axes.lines
    assert across.get_xdata()[0] == 4.0 and along.get_ydata()[0] == 2.0


def test_the_neighbourhood_of_a_label_reaches_two_voxels_and_not_the_corners():
    label = np.zeros(SHAPE)
    label[2, 3, 3] = 1
    # an octahedron of radius 2 in city blocks: 1 + 6 + 18 voxels
    assert panel.around(label, SHAPE).sum() == 25
    assert panel.around(None, SHAPE).all()
    assert panel.around(np.zeros(SHAPE), SHAPE).all()
