"""Tests of deepreg_meta/results/case.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.geometry.transform import Affine
from tests.unit.results.examples import (
    CENTRES,
    FIXED,
    OFFSET,
    PLACES,
    SHIFT,
    TURNS,
    Turn,
    make_case,
    make_result,
)


def voxels(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


@pytest.fixture
def rough(rng):
    """:return: makes a pair with random fields and a random alignment."""

    def make(place, turn):
        case = make_case(place, turn)
        shape = (*case.fixed_image.shape, 3)
        return make_result(
            case,
            turn,
            ddf=rng.uniform(-2, 2, shape).astype(np.float32),
            ddf_unadapted=rng.uniform(-2, 2, shape).astype(np.float32),
            matrix=(np.eye(3) + rng.uniform(-0.3, 0.3, (3, 3))).astype(np.float32),
            offset=rng.uniform(-4, 4, 3).astype(np.float32),
        )

    return make


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
@pytest.mark.parametrize("place", PLACES)
def test_the_transform_is_that_of_the_networks_voxels_in_space(rough, place, turn):
    """y = A (x + u(x)) + t, written out, at every voxel and half-way between two."""
    result = rough(place, turn)
    case, out = result.case, result.outputs
    x = voxels(case.fixed_image.shape).astype(float)
    fields = {"unadapted": out["ddf_unadapted"], "adapted": out["ddf"], "before": 0 * x}
    for stage, u in fields.items():
        transform = result.transform(stage)
        for where, moved in ((x, u), ((x[1:] + x[:-1]) / 2, (u[1:] + u[:-1]) / 2)):
            y = (where + moved) @ out["matrix"].T + out["offset"]
            expected = y @ case.moving_affine[:3, :3].T + case.moving_affine[:3, 3]
            points = where @ case.fixed_affine[:3, :3].T + case.fixed_affine[:3, 3]
            np.testing.assert_allclose(
                transform.map_points(points), expected, atol=1e-4
            )


def test_without_the_network_the_transform_is_one_affine_map(rough):
    result = rough("oblique", Turn())
    for stage in ("before", "centroids"):
        [part] = result.transform(stage).parts
        assert isinstance(part, Affine)
        assert not result.ddf(stage).any()
    assert len(result.transform("adapted").parts) == 2


def test_beyond_the_networks_grid_its_border_goes_on(rough):
    """Three voxels before the first one along axis 0, and far out at a corner."""
    result = rough("left-handed", Turn())
    case, out = result.case, result.outputs
    last = np.array(case.fixed_image.shape) - 1
    for outside, border in (((-3, 4, 5), (0, 4, 5)), (last + 20, last)):
        y = np.add(outside, out["ddf"][tuple(border)]) @ out["matrix"].T + out["offset"]
        point = case.fixed_grid.to_world(outside)
        expected = case.moving_grid.to_world(y)
        found = result.transform("adapted").map_points(point)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_baseline_lays_the_centroids_on_each_other():
    """
    The frames 3, 4 and 6 of axis 1 show the gland on one side of its centre, 7: they
    pull its centroid along that axis only.
    """
    case = make_case("upright")
    result = make_result(case)
    gland = np.argwhere((case.fixed_labels[0] >= 0.5) & result.seen)
    assert set(gland[:, 1]) == {6}  # the ball begins at 7 - 2.6
    matrix, offset = result.alignment("centroids")
    np.testing.assert_allclose(matrix, np.eye(3), atol=1e-6)
    found = matrix @ [5, 6, 4] + offset
    np.testing.assert_allclose(found, CENTRES[0] + OFFSET + SHIFT, atol=1e-5)


def test_a_millimetre_stays_a_millimetre_in_the_baseline():
    """Voxels of (0.8, 1.3, 2.5) mm against (1.1, 0.6, 1.9) mm."""
    result = make_result(make_case("oblique"))
    matrix, offset = result.alignment("centroids")
    np.testing.assert_allclose(matrix, np.diag([0.8 / 1.1, 1.3 / 0.6, 2.5 / 1.9]), 1e-6)
    points = np.random.default_rng(0).normal(0, 9, (2, 3))
    apart = np.diff(result.transform("centroids").map_points(points), axis=0)
    length = np.linalg.norm(np.diff(points, axis=0))
    assert np.linalg.norm(apart) == pytest.approx(length, rel=1e-6)
    # (5, 6, 4) is the middle of what the frames show of the gland
    ends = matrix @ [5, 6, 4] + offset
    np.testing.assert_allclose(ends, CENTRES[0] + OFFSET + SHIFT, atol=1e-5)


def test_the_baseline_turns_as_the_headers_that_align_the_pair():
    """The same anatomy, stored as RAS and as LPS, 4, -3 and 2 mm further on."""
    case = make_case("upright")
    to_fixed = np.diag([-1.0, -1.0, 1.0, 1.0])  # moving voxels to those of the fixed
    to_fixed[:2, 3] = np.array(FIXED[:2]) - 1
    shift = np.eye(4)
    shift[:3, 3] = 4, -3, 2
    case = replace(
        case,
        moving_image=case.fixed_image[::-1, ::-1],
        moving_labels=case.fixed_labels[:, ::-1, ::-1],
        moving_affine=shift @ case.fixed_affine @ to_fixed,
        moving_spacing_mm=case.fixed_spacing_mm,
    )
    by_header = np.linalg.solve(case.moving_affine, case.fixed_affine)
    result = make_result(
        case,
        matrix=by_header[:3, :3].astype(np.float32),
        offset=by_header[:3, 3].astype(np.float32),
        slices=np.ones(FIXED[1], np.float32),
    )
    points = case.fixed_grid.to_world(CENTRES)
    found = result.transform("centroids").map_points(points)
    np.testing.assert_allclose(found, points + [4, -3, 2], atol=1e-4)


def test_frames_that_miss_the_gland_leave_the_baseline_unaligned():
    result = make_result(make_case(), slices=np.eye(14, dtype=np.float32)[0])
    assert result.alignment("centroids")[1] is result.outputs["offset"]


def test_frames_updates_and_unit():
    """Nominal spacings make voxels of the lengths."""
    case = make_case()
    result = make_result(case)
    assert (result.steps, result.unit) == (2, "mm")
    assert list(result.frames) == [3, 4, 6]
    assert result.seen.shape == (1, 14, 1) and result.seen.sum() == 3
    assert make_result(replace(case, spacing_is_nominal=True)).unit == "voxels"
