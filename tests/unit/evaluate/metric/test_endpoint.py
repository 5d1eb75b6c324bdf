"""Laws, hand-derived values and errors of deepreg_meta.evaluate.metric.endpoint."""

import math

import numpy as np
import pytest

from deepreg_meta.evaluate import metric

SHAPE = (5, 6, 7)


def constant(*vector, shape=SHAPE):
    """A field that displaces every voxel alike."""
    return np.broadcast_to(np.array(vector, np.float32), (*shape, 3))


def ramp(last):
    """Two fields along axis 1 that lie 0, 1, 2, ..., last voxels apart."""
    ddf = np.zeros((2, last + 1, 3, 3))
    ddf[..., 1] = np.arange(last + 1)[:, None]
    return ddf, np.zeros_like(ddf)


def test_a_constant_difference_has_its_length_everywhere():
    errors = metric.endpoint_errors(constant(4, 0, 1), constant(1, 4, 1))
    np.testing.assert_allclose(errors, np.full(SHAPE, 5.0))  # (3, -4, 0)


def test_voxel_sides_turn_the_components_into_mm_before_they_are_added_up():
    found = metric.endpoint_errors(constant(1, 2, 2), constant(0, 0, 0), (6, 1, 4.5))
    np.testing.assert_allclose(found, 11.0)  # sqrt(6^2 + 2^2 + 9^2)


def test_statistics_of_evenly_spread_errors():
    found = metric.endpoint_statistics(*ramp(20))
    # six of each of 0, ..., 20: in order, the 19s stand at 114 to 119, and the
    # percentile at 0.95 * 125 = 118.75
    assert found == pytest.approx({"mean": 10.0, "median": 10.0, "p95": 19.0})


def test_mean_and_median_of_one_bad_voxel_part():
    ddf = np.zeros((1, 4, 5, 3))
    ddf[0, 0, 0] = [0.0, 30.0, 40.0]
    found = metric.endpoint_statistics(ddf, np.zeros_like(ddf))
    assert found["mean"] == pytest.approx(2.5) and found["median"] == 0.0


@pytest.mark.parametrize("mask", ["bool", "soft", "broadcast"])
def test_only_the_voxels_of_a_mask_count(mask):
    ddf, truth = ramp(20)
    keep = np.arange(21)[:, None] >= 11
    keep = np.broadcast_to(keep, ddf.shape[:3]) if mask != "broadcast" else keep[None]
    keep = np.where(keep, 0.5, 0.49) if mask == "soft" else keep
    found = metric.endpoint_statistics(ddf, truth, mask=keep)
    # six of each of 11, ..., 20: the 20s stand at 54 to 59, 0.95 * 59 = 56.05
    assert found == pytest.approx({"mean": 15.5, "median": 15.5, "p95": 20.0})


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_nothing_moves_along_a_singleton_axis(flat):
    shape = [5, 6, 7]
    shape[flat] = 1
    vector = [3.0, 3.0, 3.0]
    vector[flat] = 100.0  # must be ignored
    spacing = [4 / 3, 4 / 3, 4 / 3]
    found = metric.endpoint_errors(
        constant(*vector, shape=shape), constant(0, 0, 0, shape=shape), spacing
    )
    np.testing.assert_allclose(found, math.sqrt(32))


def test_an_empty_mask_and_a_diverged_field_have_no_figures():
    ddf, truth = ramp(3)
    nothing = metric.endpoint_statistics(ddf, truth, mask=np.zeros(ddf.shape[:3]))
    assert all(math.isnan(value) for value in nothing.values())
    ddf[0, 1, 2] = np.nan
    found = metric.endpoint_statistics(ddf, truth)
    assert all(math.isnan(value) for value in found.values()) and len(found) == 3
    mask = np.isfinite(ddf[..., 0])
    assert metric.endpoint_statistics(ddf, truth, mask)["mean"] == pytest.approx(
        (6 * 6 - 1) / 23
    )


def test_fields_that_cannot_be_compared_are_refused():
    field = constant(0, 0, 0)
    with pytest.raises(ValueError, match=r"one grid, got \(5, 6, 7, 3\) and \(5, 6, 6"):
        metric.endpoint_errors(field, field[:, :, :-1])
    with pytest.raises(ValueError, match=r"expected a ddf .* got \(5, 6, 3\)"):
        metric.endpoint_errors(field[:, :, 0], field[:, :, 0])
    with pytest.raises(ValueError, match="spacing_mm: expected three positive lengths"):
        metric.endpoint_errors(field, field, (1, 1))
    with pytest.raises(ValueError, match=r"got mask \(5, 6, 6\) and volumes"):
        metric.endpoint_statistics(field, field, np.ones((5, 6, 6)))
