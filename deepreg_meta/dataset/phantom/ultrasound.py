"""The fixed image: B-mode-like transrectal ultrasound (TRUS)."""

import numpy as np
from scipy import ndimage

from deepreg_meta.dataset.phantom.deformation import Deformation
from deepreg_meta.dataset.phantom.field import membership
from deepreg_meta.dataset.phantom.grey import US, paint
from deepreg_meta.dataset.phantom.grid import voxel_grid
from deepreg_meta.dataset.phantom.landmark import Landmark
from deepreg_meta.dataset.phantom.view import View


def render_us(
    rng: np.random.Generator,
    deformation: Deformation,
    view: View,
    landmarks: list[Landmark],
) -> np.ndarray:
    """
    Render B-mode TRUS: log-compressed echoes seen from the probe, as a fan.

    :param rng: the source of all random numbers.
    :param deformation: which knows where the probe is.
    :param view: the anatomy seen from the fixed grid.
    :return: (f1, f2, f3) float32 in [0, 1].
    """
    s = view.anatomy.scale
    x = voxel_grid(view.sides)
    probe = deformation.probe_line(view.sides)
    plane = x[..., :2] - probe
    rho = np.linalg.norm(plane, axis=-1)
    depth = rho - deformation.probe_radius
    angle = np.arctan2(plane[..., 1], -plane[..., 0])
    level = paint(view.tissues(), landmarks, view.q, US)
    # residual attenuation after gain compensation: near bright, far dark
    level *= 1.25 * np.exp(-np.maximum(depth, 0) / (rng.uniform(28, 40) * s))
    for mark in landmarks:
        if mark.kind == "calcification":
            level *= 1.0 - 0.92 * _shadow(mark, probe, x)
    # log compression turns the Rayleigh factor into a summand; 66 dB of range
    echo = level + 0.3 * np.log10(_speckle(rng, depth, angle, s) + 0.02)
    echo = np.clip(echo * membership(-level + 0.06, 0.015), 0, 1)
    face = np.exp(-((depth / (0.8 * s)) ** 2))
    echo = np.maximum(echo, 0.9 * face)
    reach, opening = rng.uniform(30, 34) * s, np.deg2rad(rng.uniform(62, 72))
    fan = membership(depth - reach) * membership((np.abs(angle) - opening) * rho)
    echo = ndimage.gaussian_filter(echo, 0.5) * fan * membership(-depth - 0.6 * s)
    ring = 0.18 * np.exp(-(((depth + 2.2 * s) / (0.5 * s)) ** 2))  # transducer echo
    return np.clip(echo + ring * (np.abs(angle) < 2), 0, 1).astype(np.float32)


def _speckle(
    rng: np.random.Generator, depth: np.ndarray, angle: np.ndarray, scale: float
) -> np.ndarray:
    """
    Draw the envelope of fully developed speckle (Rayleigh, mean square 1).

    The pattern is made on rays, so it widens with the distance from the probe.

    :param depth: (f1, f2, f3) along the ray, voxels; may be negative in the probe.
    :param angle: (f1, f2, f3) radians.
    :param scale: voxels per voxel of the default grid.
    :return: (f1, f2, f3), not negative.
    """
    per_voxel, per_radian = 2.0 / scale, 36.0
    slices = np.broadcast_to(np.arange(depth.shape[2]), depth.shape)
    spots = np.stack([(depth - depth.min()) * per_voxel, (angle + 3.2) * per_radian])
    spots = np.concatenate([spots, slices[None]])
    size = [int(np.ceil(axis.max())) + 2 for axis in spots]
    field = np.zeros(depth.shape)
    for part in rng.standard_normal((2, *size), dtype=np.float32):
        part = ndimage.gaussian_filter(part, (1.6, 1.6, 0.7))
        part /= part.std()
        field += ndimage.map_coordinates(part, spots, order=1) ** 2
    return np.sqrt(field / field.mean())


def _shadow(mark: Landmark, probe: np.ndarray, x: np.ndarray) -> np.ndarray:
    """
    Give the darkness behind a calcification, away from the probe.

    :param probe: (f3, 2), axial position of the probe's axis for every slice.
    :param x: (f1, f2, f3, 3), fixed voxels.
    :return: (f1, f2, f3) in [0, 1].
    """
    origin = probe[int(mark.fixed_centre[2])]
    ray = mark.fixed_centre[:2] - origin
    distance = np.linalg.norm(ray)
    ray = ray / distance
    plane = x[..., :2] - origin
    along = plane @ ray
    across = np.abs(plane[..., 0] * ray[1] - plane[..., 1] * ray[0])
    # a fan: the shadow of a ball widens in proportion to the distance
    width = mark.radius * np.maximum(along, 1e-3) / distance
    sideways = np.hypot(
        across / width, (x[..., 2] - mark.fixed_centre[2]) / mark.radius
    )
    behind = membership(distance + 0.7 * mark.radius - along, 0.4)
    return behind * membership(sideways - 1.0, 0.12)
