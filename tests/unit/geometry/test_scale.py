"""Tests of deepreg_meta/geometry/scale.py."""

import pytest

from deepreg_meta.geometry.scale import scaled_size


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [((48, 64, 1), 0.5, (24, 32, 1)), ((7, 9, 5), 0.5, (4, 5, 3)),
     ((9, 3, 2), 0.125, (1, 1, 1)), ((5, 6, 7), 1.0, (5, 6, 7))],
)  # fmt: skip
def test_a_scale_has_the_sides_times_it(size, scale, expected):
    assert scaled_size(size, scale) == expected
