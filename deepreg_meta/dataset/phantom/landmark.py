"""Landmarks, small balls that both images show, and the labels of a grid."""

from dataclasses import dataclass

import numpy as np

from deepreg_meta.dataset.phantom.view import View

# lowest and highest relative radius in the gland, where landmarks of a kind lie
_DEPTH = {
    "calcification": (0.45, 0.72),
    "cyst": (0.15, 0.60),
    "lesion": (0.70, 0.90),
    "boundary": (0.90, 1.02),
}


@dataclass(frozen=True)
class Landmark:
    """
    A ball in the relaxed frame that both images show.

    :param kind: calcification, cyst, lesion or boundary.
    :param centre: (3,), relaxed frame.
    :param fixed_centre: (3,), fixed voxels.
    :param radius: voxels.
    """

    kind: str
    centre: np.ndarray
    fixed_centre: np.ndarray
    radius: float

    def signed(self, q: np.ndarray) -> np.ndarray:
        """Give the signed distance of points (..., 3), negative inside."""
        return np.linalg.norm(q - self.centre, axis=-1) - self.radius


def draw_landmarks(rng: np.random.Generator, fixed: View) -> list[Landmark]:
    """
    Choose 2 to 4 landmarks among the fixed voxels, so that all lie inside the grid.

    The first is a calcification. A kind for which no place is left is passed over.

    :param rng: the source of all random numbers.
    :param fixed: the anatomy seen from the fixed grid.
    """
    kinds = ["calcification", *rng.permutation(["cyst", "lesion", "boundary"])]
    kinds = kinds[: rng.integers(2, 5)]
    scale = fixed.anatomy.scale
    sides = np.array(fixed.sides)
    landmarks: list[Landmark] = []
    for kind in kinds:
        radius = max(rng.uniform(1.5, 2.5) * scale, 1.1)
        low, high = _DEPTH[kind]
        options = np.argwhere((fixed.gland > low) & (fixed.gland < high))
        edge = np.minimum(options, sides - 1 - options).min(axis=1)
        options = options[edge > radius + 0.5]
        for x in rng.permutation(options)[:200]:
            centre = fixed.q[tuple(x)]
            gaps = [
                np.linalg.norm(centre - m.centre) - radius - m.radius for m in landmarks
            ]
            if min(gaps, default=np.inf) > 2.0 * scale:
                landmarks.append(Landmark(kind, centre, x.astype(float), radius))
                break
    return landmarks


def label_channels(view: View, landmarks: list[Landmark]) -> np.ndarray:
    """
    Give the labels of a grid.

    :return: (L, d1, d2, d3) uint8 of 0 and 1, the gland first, then the landmarks.
    """
    balls = [mark.signed(view.q) < 0 for mark in landmarks]
    return np.stack([view.gland < 1, *balls]).astype(np.uint8)
