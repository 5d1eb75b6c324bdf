"""
Images made up on the spot, in the folders of the real ones, so that the study runs
without any data. They prove nothing about registration.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 64
Shape = tuple[float, float, float, float, float]  # centre, half axes, brightness


def write_synthetic(folder: Path, seed: int = 0, num_patients: int = 9) -> Path:
    """
    Write a few images and labels of every kind.

    :param folder: gets curvas_abdomen_ct, camus_echo, cxr_lungs and oasis2d.
    :param seed: of all draws.
    :param num_patients: of every kind.
    :return: the folder.
    """
    rng = np.random.default_rng(seed)
    for patient in range(num_patients):
        for level in range(2):
            name = f"subject{patient:05d}_{level}_rater1"
            body, liver = (0.5, 0.5, 0.4, 0.45, 90.0), (0.4, 0.4, 0.2, 0.17, 60.0)
            _write(folder / "curvas_abdomen_ct", name, rng, [body, liver], (0, 3))
        heart = [(0.5, 0.4, 0.18, 0.24, 80.0), (0.5, 0.4, 0.11, 0.16, -60.0)]
        atrium: Shape = (0.5, 0.74, 0.12, 0.1, -40.0)
        for phase, size in (("ED", 1.0), ("ES", 0.75)):
            shapes = [(x, y, a * size, b * size, v) for x, y, a, b, v in heart]
            name = f"patient{patient:04d}_2CH_{phase}"
            _write(folder / "camus_echo", name, rng, [*shapes, atrium], (2, 1, 3), 0.01)
        lungs = [(x, 0.5, 0.15, 0.3, -70.0) for x in (0.3, 0.7)]
        _write(
            folder / "cxr_lungs", f"MCUCXR_{patient:04d}_0", rng, lungs, (255, 255),
            labels="masks",
        )  # fmt: skip
        rings = [(0.5, 0.5, 0.4 / k, 0.42 / k, 50.0) for k in (1, 1.4, 2, 3)]
        name = f"OAS1_{patient:04d}_MR1"
        _write(folder / "oasis2d", name, rng, rings, (1, 2, 3, 4), labels="seg4")
    return folder


def _write(
    folder: Path,
    name: str,
    rng: np.random.Generator,
    shapes: list[Shape],
    values: tuple[int, ...],
    spread: float = 0.03,
    labels: str = "labels",
) -> None:
    """Draw ellipses, each somewhat elsewhere than asked for, over a soft texture."""
    image: NDArray = 30.0 + 40.0 * gaussian_filter(rng.normal(size=(SIDE, SIDE)), 2.0)
    label = np.zeros((SIDE, SIDE), np.uint8)
    y, x = (np.indices((SIDE, SIDE)) + 0.5) / SIDE
    for (cx, cy, a, b, brightness), value in zip(shapes, values, strict=True):
        cx, cy, a, b = (np.array([cx, cy, a, b]) + rng.normal(0.0, spread, 4)).clip(
            0.05
        )
        inside = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1.0
        image = image + brightness * gaussian_filter(inside.astype(float), 0.7)
        if value:
            label[inside] = value
    for kind, pixels in (("images", image.clip(0, 255)), (labels, label)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{name}.png")
