"""Laws and values of deepreg_meta.evaluate.panel (test_figure.py sees it at work)."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from deepreg_meta.evaluate import panel
from deepreg_meta.evaluate.plane import Slice, choose_planes

SHAPE = (5, 6, 7)


def test_black_is_set_by_the_whole_image_and_white_by_the_gland():
    image = np.zeros((1001, 1, 1))
    image[:, 0, 0] = np.arange(1001.0)
    image[0] = np.nan
    gland = np.zeros(image.shape)
    gland[100:500] = 1  # with two voxels around it: 98 to 501, 404 values
    low, high = panel.window(image, panel.around(gland))
    # of 1000 values from 1: 1 + 0.01 * 999; of 404 from 98: 98 + 0.99 * 403
    assert low == pytest.approx(10.99) and high == pytest.approx(496.97)
    assert panel.window(image, None)[1] == pytest.approx(1 + 0.99 * 999)
    flat = np.full((3, 1, 1), 4.0)
    assert panel.window(flat, panel.around(flat)) == (4.0, 5.0)
    assert panel.window(np.full((3, 1, 1), np.nan), None) == (0.0, 1.0)


def test_the_neighbourhood_of_a_label_reaches_two_voxels_and_not_the_corners():
    label = np.zeros(SHAPE)
    label[2, 3, 3] = 1
    # an octahedron of radius 2 in city blocks: 1 + 6 + 18 voxels
    near = panel.around(label)
    assert near.counts.sum() == 25
    whole = np.zeros(SHAPE, bool)
    whole[near.box] = near.counts
    assert whole[2, 3, 5] and whole[4, 3, 3] and not whole[3, 4, 5]
    assert panel.around(None) is None and panel.around(np.zeros(SHAPE)) is None


def test_the_window_of_a_large_volume_is_that_of_a_sample():
    image = np.broadcast_to(np.linspace(0, 1, 200), (200, 150, 200))
    low, high = panel.window(image, None)
    assert (low, high) == pytest.approx((0.01, 0.99), abs=0.01)


def test_a_contour_runs_where_the_label_passes_one_half_and_closes_at_the_border():
    axes = Figure().add_subplot()
    label = np.zeros((5, 6, 1))
    label[2:, 1:3] = 1  # touches the last row
    plane = Slice(2, 0, label.shape, (1.0, 2.0, 1.0))
    panel.draw_contours(axes, plane, {"fixed": label, "before": None, "warped": None})
    (contour,) = axes.collections
    box = contour.get_paths()[0].get_extents()
    # columns 1 to 2 of 2 mm, half a voxel around; rows 2 to 4 of 1 mm
    np.testing.assert_allclose([box.x0, box.x1, box.y0, box.y1], [1, 5, 1.5, 4.5])


def test_contours_differ_in_style_as_well_as_in_colour():
    axes = Figure().add_subplot()
    label = np.zeros((5, 6, 1))
    label[2:4, 1:3] = 1
    plane = Slice(2, 0, label.shape, (1.0, 1.0, 1.0))
    panel.draw_contours(axes, plane, dict.fromkeys(panel.CONTOURS, label))
    colours = [to_hex(c.get_edgecolor()[0]) for c in axes.collections]
    dashes = {str(c.get_linestyle()) for c in axes.collections}
    # bluish green, yellow and vermilion of Okabe and Ito
    assert colours == ["#009e73", "#f0e442", "#d55e00"]
    assert len(dashes) == 3


def test_lines_of_other_planes_cross_at_their_place():
    axes = Figure().add_subplot()
    planes = choose_planes(SHAPE, (1.0, 2.0, 3.0), None)  # 2, 2 and 3
    panel.draw_cross(axes, planes[0], planes)  # rows 0, columns 1
    across, along = axes.lines
    assert across.get_xdata()[0] == 4.0 and along.get_ydata()[0] == 2.0


def test_letters_stand_at_their_sides():
    axes = Figure().add_subplot()
    panel.draw_letters(axes, Slice(2, 0, SHAPE, (1.0, 1.0, 1.0), "LPS"))
    places = {t.get_text(): t.get_position() for t in axes.texts}
    assert places["R"][0] < 0.1 < 0.9 < places["L"][0]
    assert places["P"][1] < 0.1 < 0.9 < places["A"][1]
