"""One phantom case: a pair of images with labels and the true map."""

from dataclasses import dataclass

import numpy as np

from deepreg_meta.dataset.phantom.anatomy import draw_anatomy
from deepreg_meta.dataset.phantom.grid import (
    FIXED_SHAPE,
    MOVING_SHAPE,
    SPACING_MM,
    check_shape,
    voxel_grid,
)
from deepreg_meta.dataset.phantom.landmark import draw_landmarks, label_channels
from deepreg_meta.dataset.phantom.mr import render_mr
from deepreg_meta.dataset.phantom.placement import place_case
from deepreg_meta.dataset.phantom.ultrasound import render_us
from deepreg_meta.dataset.phantom.view import View

GENERATOR_VERSION = 1  # part of cache names: raise it when any voxel would change


@dataclass(frozen=True)
class PhantomCase:
    """
    One pair; m are the moving and f the fixed grid sides, L the number of labels.

    :param moving_image: (m1, m2, m3) float32 in [0, 1], T2-like MR.
    :param fixed_image: (f1, f2, f3) float32 in [0, 1], B-mode-like TRUS.
    :param moving_labels: (L, m1, m2, m3) uint8 of 0 and 1; channel 0 is the gland,
        channels 1 to L - 1 are landmarks (2 to 4 of them).
    :param fixed_labels: (L, f1, f2, f3) uint8, the same structures.
    :param spacing_mm: voxel sides of both grids.
    :param displacement: (f1, f2, f3, 3) float32, the true map: fixed voxel x shows
        the tissue at moving voxel x + displacement(x) (voxels, no alignment added).
    """

    moving_image: np.ndarray
    fixed_image: np.ndarray
    moving_labels: np.ndarray
    fixed_labels: np.ndarray
    spacing_mm: tuple[float, float, float]
    displacement: np.ndarray


def check_seed(seed: int) -> None:
    """Raise a ValueError when a seed is negative."""
    if seed < 0:
        raise ValueError(f"phantom seed: expected an integer >= 0, got {seed}.")


def make_case(
    seed: int,
    moving_shape: tuple[int, int, int] = MOVING_SHAPE,
    fixed_shape: tuple[int, int, int] = FIXED_SHAPE,
) -> PhantomCase:
    """
    Make one synthetic pair of a T2-like MR and a TRUS-like volume.

    :param seed: any integer >= 0; the same seed and shapes give the same arrays.
    :param moving_shape: sides of the MR grid, at least 12.
    :param fixed_shape: sides of the TRUS grid, at least 12; the gland spans 55 to
        78 % of each, 65 % on average (24 cases of the default shapes). Lengths follow
        this grid, and the voxels of both are alike.
    :return: the pair with its labels, spacing and true displacement.
    :raises ValueError: when the seed is negative or a shape is not three such sides.
    """
    check_seed(seed)
    moving_shape = check_shape("moving_shape", moving_shape)
    fixed_shape = check_shape("fixed_shape", fixed_shape)
    # separate streams: a change of noise must not change the anatomy
    streams = np.random.SeedSequence(seed).spawn(3)
    rng, rng_mr, rng_us = (np.random.default_rng(stream) for stream in streams)
    anatomy = draw_anatomy(rng, fixed_shape)
    deformation, q_fixed = place_case(rng, anatomy, moving_shape, fixed_shape)
    anatomy = deformation.anatomy  # resized by the placement
    fixed = View(anatomy, q_fixed)
    moving = View(anatomy, deformation.from_moving(voxel_grid(moving_shape)))
    landmarks = draw_landmarks(rng, fixed)
    displacement = deformation.to_moving(q_fixed) - voxel_grid(fixed_shape)
    return PhantomCase(
        moving_image=render_mr(rng_mr, moving, landmarks),
        fixed_image=render_us(rng_us, deformation, fixed, landmarks),
        moving_labels=label_channels(moving, landmarks),
        fixed_labels=label_channels(fixed, landmarks),
        spacing_mm=(round(SPACING_MM / anatomy.scale, 3),) * 3,
        displacement=displacement.astype(np.float32),
    )
