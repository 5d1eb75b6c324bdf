"""The map between the grids: rigid on the MR side, probe and flow on the TRUS side."""

from dataclasses import dataclass

import numpy as np

from deepreg_meta.dataset.phantom.anatomy import Anatomy
from deepreg_meta.dataset.phantom.field import Waves, membership

_FLOW_STEPS = 6


@dataclass(frozen=True)
class Deformation:
    """
    The map from a fixed voxel to the relaxed frame and on to a moving voxel.

    :param anatomy: whose rectum holds the probe.
    :param flow: random velocity, three channels, voxels per unit of time.
    :param probe_radius: voxels.
    :param push: twice the speed of the tissue at the probe's face, voxels per unit of
        time.
    :param origin: (3,), fixed voxel coordinates of the frame's origin.
    :param rotation: (3, 3), from the frame to the moving grid.
    :param shift: (3,), moving voxel coordinates of the frame's origin.
    """

    anatomy: Anatomy
    flow: Waves
    probe_radius: float
    push: float
    origin: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray

    def velocity(self, z: np.ndarray) -> np.ndarray:
        """
        Give the velocity of the flow that undoes the probe's push.

        The push fades from the probe's face into the tissue; the random part fades
        towards the probe, which is stiff.

        :param z: (..., 3), positions relative to `origin`.
        :return: (..., 3).
        """
        s = self.anatomy.scale
        plane = self.anatomy.rectum(z)
        rho2 = (plane**2).sum(axis=-1, keepdims=True)
        value = self.flow(z) * (1.0 - 0.7 * np.exp(-0.5 * rho2 / self.probe_radius**2))
        front = membership(-(plane[..., 0] + self.probe_radius), 3.0 * s)
        value[..., 0] += (
            self.push * front * np.exp(-0.5 * (plane[..., 1] / (12 * s)) ** 2)
        )
        return value

    def drift(self, x: np.ndarray) -> np.ndarray:
        """Follow the flow for unit time from fixed voxels x (..., 3), midpoint rule."""
        z = x - self.origin
        for _ in range(_FLOW_STEPS):
            middle = z + self.velocity(z) * (0.5 / _FLOW_STEPS)
            z = z + self.velocity(middle) / _FLOW_STEPS
        return z

    def relax(self, x: np.ndarray) -> np.ndarray:
        """
        Map fixed voxels to the relaxed frame.

        After the flow the probe's cavity shrinks to the empty rectum; the tissue
        around it is incompressible in the axial plane, hence rho^2 - const.

        :param x: (..., 3).
        :return: (..., 3).
        """
        z = self.drift(x)
        plane = self.anatomy.rectum(z)
        rho = np.linalg.norm(plane, axis=-1, keepdims=True) + 1e-9
        wide, narrow = self.probe_radius, self.anatomy.rectum_radius
        outside = np.sqrt(np.maximum(rho**2 - wide**2, 0.0) + narrow**2) / rho
        ratio = np.where(rho > wide, outside, narrow / wide)
        return np.concatenate(
            [z[..., :2] + plane * (ratio - 1.0), z[..., 2:]],
            axis=-1,
        )

    def to_moving(self, q: np.ndarray) -> np.ndarray:
        """Map the relaxed frame (..., 3) to moving voxels (..., 3)."""
        return q @ self.rotation.T + self.shift

    def from_moving(self, y: np.ndarray) -> np.ndarray:
        """Map moving voxels (..., 3) to the relaxed frame (..., 3)."""
        return (y - self.shift) @ self.rotation

    def probe_line(self, shape: tuple[int, ...]) -> np.ndarray:
        """
        Find the probe's axis in the fixed grid as a straight line.

        :param shape: sides of the fixed grid.
        :return: (f3, 2), axial position for every slice of axis 2.
        """
        along = np.arange(shape[2], dtype=float)
        x = np.stack([0 * along, 0 * along, along], axis=-1)
        x[:, :2] += self.origin[:2]
        for _ in range(25):  # the flow moves slowly, so plain iteration converges
            x[:, :2] -= self.anatomy.rectum(self.drift(x))
        return np.stack(
            [np.polyval(np.polyfit(along, x[:, i], 1), along) for i in (0, 1)],
            axis=-1,
        )


def jacobian_det(displacement: np.ndarray) -> np.ndarray:
    """
    Give the Jacobian determinant of x -> x + displacement(x), central differences.

    :param displacement: (f1, f2, f3, 3), voxels.
    :return: (f1, f2, f3).
    """
    rows = [np.gradient(displacement[..., i]) for i in range(3)]
    matrix = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    return np.linalg.det(matrix + np.eye(3))


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """
    Turn a rotation vector into a matrix, by the formula of Rodrigues.

    :param vector: (3,), the axis times the angle in radians, which is not 0.
    :return: (3, 3).
    """
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
