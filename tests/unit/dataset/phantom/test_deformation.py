"""Tests of the phantom's true map."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.dataset.phantom.deformation import (
    Deformation,
    jacobian_det,
    rotation_matrix,
)
from deepreg_meta.dataset.phantom.grid import voxel_grid

ORIGIN = np.array([7.0, 8.0, 6.0])


@pytest.fixture
def still(plain, flat):
    """A probe without any flow; its axis passes the frame's origin at (9, -1)."""
    return Deformation(
        anatomy=plain,
        flow=flat(0.0, 0.0, 0.0),
        probe_radius=6.0,
        push=0.0,
        origin=ORIGIN,
        rotation=rotation_matrix(np.array([0.1, -0.2, 0.05])),
        shift=np.array([11.0, 12.0, 10.0]),
    )


def test_jacobian_of_a_known_stretch_is_its_volume_change():
    x = voxel_grid((5, 6, 7))
    # (x0, x1, x2) -> (1.5 x0 + x1, 2 x1, 0.5 x2): determinant 1.5 * 2 * 0.5 = 1.5
    image = np.stack([1.5 * x[..., 0] + x[..., 1], 2 * x[..., 1], x[..., 2] / 2], -1)
    np.testing.assert_allclose(jacobian_det(image - x), 1.5)


def test_quarter_turn_about_the_last_axis_takes_the_first_to_the_second():
    turn = rotation_matrix(np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(turn @ [2, 0, 3], [0, 2, 3], atol=1e-12)


def test_moving_voxels_and_relaxed_frame_undo_one_another(still, rng):
    q = rng.normal(size=(5, 6, 7, 3))
    y = still.to_moving(q)
    np.testing.assert_allclose(still.from_moving(y), q, atol=1e-12)
    np.testing.assert_allclose(still.to_moving(np.zeros(3)), [11, 12, 10])
    np.testing.assert_allclose(
        np.linalg.norm(y[0, 0, 0] - y[4, 5, 6]),
        np.linalg.norm(q[0, 0, 0] - q[4, 5, 6]),
    )


def test_constant_flow_moves_tissue_by_its_velocity(still, flat):
    # a thin probe stiffens nothing; the flow lasts for unit time
    moved = replace(still, flow=flat(1.0, 2.0, -3.0), probe_radius=0.01)
    np.testing.assert_allclose(moved.drift(ORIGIN + [0, 0, 1]), [1, 2, -2])


def test_push_acts_at_the_face_of_the_probe_and_fades_before_and_beside_it(still):
    pushed = replace(still, push=2.0)
    # the axis is at (9, -1) and the face at 3; beside it is 24 voxels to the left
    face, before, beside = pushed.velocity(
        np.array([[3.0, -1, 0], [-6.0, -1, 0], [3.0, -25, 0]])
    )
    np.testing.assert_allclose(face, [1, 0, 0])
    np.testing.assert_allclose(before, [2 / (1 + np.exp(9 / 3)), 0, 0])
    np.testing.assert_allclose(beside, [np.exp(-0.5 * (24 / 12) ** 2), 0, 0])


@pytest.mark.parametrize(
    ("rho", "relaxed"),
    [
        (10, np.sqrt(100 - 36 + 9)),  # the area between probe and tissue is kept
        (6, 3),  # the probe's face becomes the rectum's wall
        (2, 1),
    ],
)
def test_cavity_of_the_probe_shrinks_to_the_empty_rectum(still, rho, relaxed):
    q = still.relax(ORIGIN + [9 - rho, -1, 0])
    np.testing.assert_allclose(q, [9 - relaxed, -1, 0], atol=1e-6)


def test_tissue_around_the_probe_keeps_its_volume(still):
    x = voxel_grid((12, 16, 9))
    q = still.relax(x)
    away = np.linalg.norm(still.anatomy.rectum(x - ORIGIN), axis=-1) > 8
    assert away.any()
    np.testing.assert_allclose(jacobian_det(q - x)[away], 1, atol=0.03)


def test_probe_line_is_the_rectum_where_nothing_flows(still):
    line = still.probe_line((12, 16, 9))
    along = np.arange(9)
    np.testing.assert_allclose(line[:, 0], 7 + 9 + 0.1 * (along - 6))
    np.testing.assert_allclose(line[:, 1], 8 - 1)
