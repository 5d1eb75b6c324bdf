"""Draw the map of a case and place the gland in both grids."""

from dataclasses import replace

import numpy as np

from deepreg_meta.dataset.phantom.anatomy import Anatomy
from deepreg_meta.dataset.phantom.deformation import (
    Deformation,
    jacobian_det,
    rotation_matrix,
)
from deepreg_meta.dataset.phantom.field import draw_waves
from deepreg_meta.dataset.phantom.grid import voxel_grid

_MIN_JACOBIAN = 0.1
_FLOW_RMS = (2.5, 3.0)  # voxels, over the gland
_OFFSET = (4.5, 6.0)  # voxels between gland centroids once grid centres agree
_SHARE = (0.57, 0.68)  # of each side of the fixed grid that the gland should span


def place_case(
    rng: np.random.Generator,
    anatomy: Anatomy,
    moving_shape: tuple[int, ...],
    fixed_shape: tuple[int, ...],
) -> tuple[Deformation, np.ndarray]:
    """
    Draw a map that shows the gland in both grids and is a diffeomorphism.

    :param rng: the source of all random numbers.
    :param anatomy: of the subject; its gland is resized to fit the fixed grid.
    :return: the map, which holds the resized anatomy, and the relaxed position of
        every fixed voxel, (f1, f2, f3, 3).
    """
    deformation = _draw_deformation(rng, anatomy, moving_shape, fixed_shape)
    deformation = _fit_to_grid(rng, deformation, fixed_shape)
    deformation = _offset_gland(rng, deformation, fixed_shape)
    return _make_smooth(deformation, fixed_shape)


def _draw_deformation(
    rng: np.random.Generator,
    anatomy: Anatomy,
    moving_shape: tuple[int, ...],
    fixed_shape: tuple[int, ...],
) -> Deformation:
    s = anatomy.scale
    flow = draw_waves(rng, (21 * s, 36 * s), 1.0, channels=3, num=12)
    # fixed strength within the gland, a translation aside, so that cases are alike
    points = rng.uniform(-0.8, 0.8, size=(400, 3)) * anatomy.half
    strength = rng.uniform(*_FLOW_RMS) * s / np.sqrt(flow(points).var(axis=0).sum())
    spin = rng.normal(size=3)
    spin *= np.deg2rad(rng.uniform(2.0, 8.0)) / np.linalg.norm(spin)
    return Deformation(
        anatomy=anatomy,
        flow=replace(flow, weights=strength * flow.weights),
        probe_radius=rng.uniform(6.0, 7.0) * s,
        push=rng.uniform(1.0, 5.0) * s,
        origin=(np.array(fixed_shape) - 1) / 2 + rng.uniform(-1.2, 1.2, 3) * s,
        rotation=rotation_matrix(spin),
        shift=(np.array(moving_shape) - 1) / 2,
    )


def _fit_to_grid(
    rng: np.random.Generator, deformation: Deformation, fixed_shape: tuple[int, ...]
) -> Deformation:
    """
    Bring the fixed gland near the middle of the grid, about `_SHARE` of each side.

    Three rounds on a coarse grid come near that share, and the flow may be weakened
    afterwards: what a case shows in the end is in the docstring of `make_case`.
    """
    shape = np.array(fixed_shape)
    target = rng.uniform(*_SHARE, 3) * shape
    middle = (shape - 1) / 2 + rng.uniform(-1.0, 1.0, 3) * deformation.anatomy.scale
    step = max(1, round(2 * deformation.anatomy.scale))
    x = voxel_grid(fixed_shape, step)
    for _ in range(3):
        inside = deformation.anatomy.gland(deformation.relax(x)) < 1
        found = x[inside] if inside.any() else x.reshape(-1, 3)
        low, high = found.min(axis=0), found.max(axis=0)
        gain = np.clip(target / (high - low + 0.5 * step + 0.5), 0.75, 1.33)
        anatomy = replace(deformation.anatomy, half=deformation.anatomy.half * gain)
        origin = deformation.origin + middle - (low + high) / 2
        deformation = replace(deformation, anatomy=anatomy, origin=origin)
    return deformation


def _offset_gland(
    rng: np.random.Generator, deformation: Deformation, fixed_shape: tuple[int, ...]
) -> Deformation:
    """Set the rigid shift, so that aligned centres leave the glands `_OFFSET` apart."""
    s = deformation.anatomy.scale
    x = voxel_grid(fixed_shape, max(1, round(2 * s)))
    inside = deformation.anatomy.gland(deformation.relax(x)) < 1
    fixed = x[inside].mean(axis=0) - (np.array(fixed_shape) - 1) / 2
    box = 1.3 * rng.uniform(-1, 1, (4000, 3)) * deformation.anatomy.half
    centroid = box[deformation.anatomy.gland(box) < 1].mean(axis=0)
    direction = rng.normal(size=3)
    direction *= rng.uniform(*_OFFSET) * s / np.linalg.norm(direction)
    moving = fixed + direction - deformation.rotation @ centroid
    return replace(deformation, shift=deformation.shift + moving)


def _make_smooth(
    deformation: Deformation, fixed_shape: tuple[int, ...]
) -> tuple[Deformation, np.ndarray]:
    """Weaken the flow until the map is a safe diffeomorphism on the grid."""
    x = voxel_grid(fixed_shape)
    while True:
        q = deformation.relax(x)
        if jacobian_det(q - x).min() > _MIN_JACOBIAN:
            return deformation, q
        flow = replace(deformation.flow, weights=0.8 * deformation.flow.weights)
        deformation = replace(deformation, flow=flow, push=0.9 * deformation.push)
