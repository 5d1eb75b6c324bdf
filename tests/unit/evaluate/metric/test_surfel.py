"""Laws and values of deepreg_meta.evaluate.metric.surfel."""

import math

import numpy as np
import pytest

from deepreg_meta.evaluate.metric import surfel

# Of the table of surface-distance 0.1 (PyPI), `lookup_tables` with a spacing of ones;
# the derived areas were equal to all 256 of them, bit by bit.
AREAS = {
    1: 0.21650635094610965,
    3: 0.7071067811865476,
    6: 0.4330127018922193,
    7: 1.149519052838329,
    15: 1.0,
    22: 0.649519052838329,
    23: 1.2990381056766578,
    24: 0.4330127018922193,
    25: 0.9236131321326573,
    27: 1.573132184970986,
    30: 1.3660254037844386,
    60: 1.4142135623730951,
    105: 0.8660254037844386,
    254: 0.21650635094610965,
}


def wavy(phase, level):
    """A label of several parts that touches the border."""
    x, y, z = np.meshgrid(*map(np.arange, (12, 13, 14)), indexing="ij")
    wave = np.sin(0.9 * x + phase) + np.cos(0.8 * y - phase) + np.sin(0.7 * z)
    return wave > level


def test_areas_are_those_of_the_package_to_the_last_bit():
    areas = surfel.surfel_areas()
    assert {code: areas[code] for code in AREAS} == AREAS
    assert areas.sum() == pytest.approx(241.34313970553737)


def test_areas_do_not_change_when_inside_and_outside_or_axes_are_exchanged():
    areas = surfel.surfel_areas()
    np.testing.assert_array_equal(areas, areas[::-1])  # all bits turned
    corners = 2 ** np.arange(8).reshape(2, 2, 2)
    for turned in (corners.transpose(2, 0, 1), corners[::-1], corners[:, ::-1]):
        order = [int(turned[(code & corners) > 0].sum()) for code in range(256)]
        np.testing.assert_allclose(areas[order], areas)


def test_the_surface_of_a_box_is_flat_with_cut_edges_and_corners():
    label = np.zeros((8, 9, 10), bool)
    label[2:5, 2:6, 2:7] = True  # 3 x 4 x 5 voxel centres: 2 x 3 x 4 faces inside
    codes = surfel._codes(label)
    faces = 2 * (2 * 3 + 3 * 4 + 2 * 4)
    edges, corners = 4 * (2 + 3 + 4), 8
    expected = faces + edges * math.sqrt(0.5) + corners * math.sqrt(3) / 8
    assert surfel.surfel_areas()[codes].sum() == pytest.approx(expected)


@pytest.mark.parametrize(
    "a, b, expected",
    # by compute_robust_hausdorff(compute_surface_distances(a, b, np.ones(3)), percent)
    # of surface-distance 0.1 with NumPy 1.26, for 50, 95 and 100 percent
    [
        ((0, 0.5), (1, 0.5), (0.0, 1.4142135623730951, 2.0)),
        ((0, 1.5), (0.3, -0.5), (1.4142135623730951, 2.23606797749979, 3.0)),
        ((2, 2.2), (0, 2), (2.0, 3.0, 3.605551275463989)),
    ],
)
def test_distances_equal_those_of_the_package(a, b, expected):
    labels = wavy(*a), wavy(*b)
    found = [surfel.robust_hausdorff(*labels, percent) for percent in (50, 95, 100)]
    assert tuple(found) == expected
    assert surfel.robust_hausdorff(*labels[::-1]) == expected[1]


def test_a_label_that_is_cut_out_of_a_larger_volume_keeps_its_distances():
    labels = wavy(0, 0.5), wavy(1, 0.5)
    padded = [np.pad(label, [(3, 0), (0, 2), (5, 1)]) for label in labels]
    assert surfel.robust_hausdorff(*padded) == surfel.robust_hausdorff(*labels) > 0


def test_an_empty_label_is_infinitely_far_away():
    full, empty = np.ones((5, 6, 7), bool), np.zeros((5, 6, 7), bool)
    for pair in ((full, empty), (empty, full), (empty, empty)):
        assert surfel.robust_hausdorff(*pair) == math.inf
