"""The moving image: T2-like MR."""

import numpy as np
from scipy import ndimage

from deepreg_meta.dataset.phantom.field import draw_waves
from deepreg_meta.dataset.phantom.grey import MR, paint
from deepreg_meta.dataset.phantom.grid import voxel_grid
from deepreg_meta.dataset.phantom.landmark import Landmark
from deepreg_meta.dataset.phantom.view import View


def render_mr(
    rng: np.random.Generator, view: View, landmarks: list[Landmark]
) -> np.ndarray:
    """
    Render T2-like MR: painted levels, texture, coil shading, Rician noise.

    :param rng: the source of all random numbers.
    :param view: the anatomy seen from the moving grid.
    :return: (m1, m2, m3) float32 in [0, 1].
    """
    tissues = view.tissues()
    gel = rng.uniform() < 0.4  # the rectum holds gas (black) or gel (bright)
    image = paint(tissues, landmarks, view.q, MR)
    image += 0.5 * gel * tissues["lumen"] * (1 - tissues["peripheral"])
    image *= 1.0 + 0.06 * view.texture
    image = ndimage.gaussian_filter(image, 0.45)
    sides = view.sides
    bias = draw_waves(rng, (0.8 * max(sides), 2.0 * max(sides)), 0.12, num=6)
    image *= np.exp(bias(voxel_grid(sides)))
    real, imaginary = rng.normal(scale=0.03, size=(2, *sides))
    image = np.hypot(image + real, imaginary)
    top = np.percentile(image, 99.7)
    return np.clip(image / top, 0, 1).astype(np.float32)
