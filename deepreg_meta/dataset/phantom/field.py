"""Functions of space that the phantom is made of: smooth random fields, soft edges."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Waves:
    """
    A smooth random function of space: a sum of cosines, exact at any point.

    :param vectors: (K, 3), radians per unit of length.
    :param phases: (K,), radians.
    :param weights: (K, C), one column per channel.
    """

    vectors: np.ndarray
    phases: np.ndarray
    weights: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """
        Evaluate the function.

        :param points: (..., 3).
        :return: (..., C), or (...,) when C is 1.
        """
        value = np.cos(points @ self.vectors.T + self.phases) @ self.weights
        return value[..., 0] if value.shape[-1] == 1 else value


def draw_waves(
    rng: np.random.Generator,
    wavelength: tuple[float, float],
    rms: float,
    channels: int = 1,
    num: int = 14,
) -> Waves:
    """
    Draw a random function with the given range of wavelengths.

    :param rng: the source of all random numbers.
    :param wavelength: lowest and highest, in the units of the points.
    :param rms: root mean square of each channel over space.
    :param channels: C, values per point.
    :param num: K, cosines to sum.
    """
    direction = rng.normal(size=(num, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = rng.uniform(*wavelength, size=(num, 1))
    weights = rng.normal(size=(num, channels))
    # a cosine has mean square 1/2
    weights *= rms / np.sqrt(0.5 * (weights**2).sum(axis=0))
    phases = rng.uniform(0, 2 * np.pi, num)
    return Waves(direction * 2 * np.pi / length, phases, weights)


def membership(signed: np.ndarray, width: float = 0.45) -> np.ndarray:
    """
    Turn a signed distance into a soft membership.

    :param signed: any shape, negative inside, 0 on the surface.
    :param width: of the edge, in the units of the distance.
    :return: values in [0, 1], 1/2 on the surface.
    """
    return 0.5 * (1.0 - np.tanh(0.5 * signed / width))
