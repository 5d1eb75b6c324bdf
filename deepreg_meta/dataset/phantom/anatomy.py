"""The anatomy of one subject: the gland, and the numbers that place all the rest."""

from dataclasses import dataclass

import numpy as np

from deepreg_meta.dataset.phantom.field import Waves, draw_waves, membership
from deepreg_meta.dataset.phantom.grid import grid_scale


@dataclass(frozen=True)
class Anatomy:
    """
    Implicit surfaces of one subject in the relaxed frame, origin in the gland.

    :param half: (3,), half sides of the gland, voxels.
    :param power: of the superellipsoid that the gland is; 2 is an ellipsoid.
    :param shape: relative unevenness of the gland's surface, over directions.
    :param zone: unevenness of the transition zone, over points in units of `half`.
    :param nodules: high and low where the transition zone is nodular.
    :param texture: mottle of the tissues, also the unevenness of the surroundings.
    :param scale: voxels per voxel of the default grid.
    :param rectum_radius: of the empty rectum, voxels.
    :param rectum_gap: from the gland to the rectum, voxels.
    :param rectum_side: offset of the rectum along axis 1, voxels.
    :param rectum_tilt: voxels along axis 0 per voxel along axis 2.
    """

    half: np.ndarray
    power: float
    shape: Waves
    zone: Waves
    nodules: Waves
    texture: Waves
    scale: float
    rectum_radius: float
    rectum_gap: float
    rectum_side: float
    rectum_tilt: float

    def gland(self, q: np.ndarray) -> np.ndarray:
        """
        Give the radius of points relative to the gland's surface.

        :param q: (..., 3).
        :return: (...,), 0 at the centre, 1 on the capsule.
        """
        n = q / self.half
        along = np.clip(n[..., 2], -1.2, 1.2)
        width = 1.0 + 0.16 * along - 0.10 * along**2  # narrow apex, broad base
        n0 = n[..., 0] / (1.0 + 0.06 * along)
        n1 = n[..., 1] / width
        # the posterior surface is hollow at the midline, as the rectum wants it
        n0 = n0 * (1.0 + 0.16 * np.exp(-((n1 / 0.4) ** 2)) * membership(-n0, 0.12))
        parts = np.abs(np.stack([n0, n1, n[..., 2]], axis=-1))
        radius = (parts**self.power).sum(axis=-1) ** (1.0 / self.power)
        unit = n / (np.linalg.norm(n, axis=-1, keepdims=True) + 1e-6)
        return radius / (1.0 + self.shape(unit))

    def rectum(self, q: np.ndarray) -> np.ndarray:
        """
        Give positions in the axial plane relative to the rectum's axis.

        :param q: (..., 3).
        :return: (..., 2), along axes 0 and 1.
        """
        centre = self.half[0] + self.rectum_gap + self.rectum_radius
        line = np.stack(
            [centre + self.rectum_tilt * q[..., 2], self.rectum_side + 0 * q[..., 2]],
            axis=-1,
        )
        return q[..., :2] - line


def draw_anatomy(rng: np.random.Generator, fixed_shape: tuple[int, ...]) -> Anatomy:
    """
    Draw a subject.

    :param rng: the source of all random numbers.
    :param fixed_shape: sides of the fixed grid, which all lengths follow.
    """
    s = grid_scale(fixed_shape)
    span = rng.uniform([0.57, 0.57, 0.57], [0.68, 0.68, 0.68])
    return Anatomy(
        half=0.5 * span * np.array(fixed_shape),
        power=rng.uniform(2.1, 2.7),
        shape=draw_waves(rng, (1.8, 3.2), 0.055),  # of the unit sphere
        zone=draw_waves(rng, (1.0, 2.0), 0.09),
        nodules=draw_waves(rng, (6 * s, 10 * s), 0.8, num=20),
        texture=draw_waves(rng, (5 * s, 12 * s), 1.0, num=20),
        scale=s,
        rectum_radius=rng.uniform(3.0, 4.4) * s,
        rectum_gap=rng.uniform(1.8, 2.6) * s,
        rectum_side=rng.uniform(-3.0, 3.0) * s,
        rectum_tilt=rng.uniform(-0.12, 0.12),
    )
