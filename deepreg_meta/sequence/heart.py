"""
A left ventricle in short axis whose motion, and its inverse, are formulas.

Around the middle of the ventricle a point of the tissue at radius R and angle A (at end
diastole) is, at the time t, at radius r and angle a. With S = R^2 and s = r^2,

    (s - c S + b D) (s - S + D) = b D^2      contraction, the larger root
    a = A + w exp(-S / (2 T^2))              twist

The first is a hyperbola through the origin with the asymptotes s = c S - b D and
s = S - D. Near the middle areas shrink by the ratio k = (c + b) / (1 + b), as blood
leaves; beyond the radius L, where the asymptotes cross, s = S - D: tissue keeps its
area, so that the wall thickens as muscle does, and its motion dies away. k falls from 1
at end diastole to `area_ratio` at end systole, w rises from 0 to `twist_deg`, and
D = (1 - k) L^2 (1 + b) / (1 - b).

As an equation for S the hyperbola is quadratic too, and the twist depends on S alone,
so the motion between any two times is exact in both directions. It is smooth
everywhere, and folds nowhere: k <= ds/dS < 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CAVITY, MYOCARDIUM = 1, 2  # values of the label, as those of CAMUS
_BLEND = 0.1  # b, how softly one asymptote goes over into the other


@dataclass(frozen=True)
class Heart:
    """
    The ventricle and its beat.

    :param centre_mm: of the ventricle, (2,): lateral position and depth.
    :param endo_mm: inner radius of the wall at end diastole.
    :param epi_mm: outer radius.
    :param area_ratio: k at end systole, in [0.1, 1].
    :param reach_mm: L, within which areas shrink by k; inside of the wall.
    :param twist_deg: w at end systole, of the middle; positive from the first axis to
        the second, in a picture clockwise.
    :param twist_reach_mm: T, where the twist has fallen to 0.61 of that.
    :param systole: share of the cycle at which systole ends, 0.3 to 0.5.
    :param drift_mm: how far the whole image moves at end systole, (2,), as with
        breathing or the hand.
    """

    centre_mm: tuple[float, float] = (0.0, 42.0)
    endo_mm: float = 20.0
    epi_mm: float = 29.0
    area_ratio: float = 0.35
    reach_mm: float = 17.0
    twist_deg: float = 12.0
    twist_reach_mm: float = 24.0
    systole: float = 0.36
    drift_mm: tuple[float, float] = (0.0, 1.5)

    def __post_init__(self) -> None:
        """:raises ValueError: for values out of range."""
        checks = {
            "0 < endo_mm < epi_mm": 0 < self.endo_mm < self.epi_mm,
            "0.1 <= area_ratio <= 1": 0.1 <= self.area_ratio <= 1,
            "reaches > 0": self.reach_mm > 0 and self.twist_reach_mm > 0,
            "0.3 <= systole <= 0.5": 0.3 <= self.systole <= 0.5,
        }
        wrong = [rule for rule, holds in checks.items() if not holds]
        if wrong:
            raise ValueError(f"heart: expected {', '.join(wrong)}, got {self}.")

    def activation(self, phase: ArrayLike) -> NDArray[np.float64]:
        """
        Return how far the beat is: 0 at end diastole, 1 at end systole, periodic.

        (1 - cos 2 pi s) / 2, where s is the phase with its middle moved to `systole`:
        s = phase + h sin^2 (pi phase), which rises everywhere for h < 1 / pi.

        :param phase: of the cycle, 1 is the next end diastole.
        """
        phase = np.asarray(phase, np.float64) % 1.0
        bend = (0.5 - self.systole) / np.sin(np.pi * self.systole) ** 2
        bent = phase + bend * np.sin(np.pi * phase) ** 2
        return (1 - np.cos(2 * np.pi * bent)) / 2

    def place(self, material: NDArray, phase: float) -> NDArray[np.float64]:
        """
        Return where tissue is.

        :param material: where it is at end diastole, (..., 2), mm.
        :param phase: of the cycle.
        :return: (..., 2), mm.
        """
        own = np.asarray(material, np.float64) - self.centre_mm
        square = np.sum(own**2, axis=-1)
        ratio = np.sqrt(self._shrink(square, phase))[..., None]
        turned = _turn(own, self._twist(square, phase))
        return ratio * turned + self._shift(phase) + self.centre_mm

    def material(self, place: NDArray, phase: float) -> NDArray[np.float64]:
        """
        Return which tissue is somewhere: the inverse of `place`.

        :param place: (..., 2), mm.
        :param phase: of the cycle.
        :return: where that tissue is at end diastole, (..., 2), mm.
        """
        own = np.asarray(place, np.float64) - self.centre_mm - self._shift(phase)
        now = np.sum(own**2, axis=-1)
        ratio = self._grow(now, phase)
        turned = _turn(own, -self._twist(ratio * now, phase))
        return np.sqrt(ratio)[..., None] * turned + self.centre_mm

    def follow(self, place: NDArray, start: float, end: float) -> NDArray[np.float64]:
        """
        Follow tissue from one time to another, forward or backward.

        :param place: where it is at the first time, (..., 2), mm.
        :param start: phase of the first time.
        :param end: phase of the second time.
        :return: where it is then, (..., 2), mm.
        """
        return self.place(self.material(place, start), end)

    def label(self, place: NDArray, phase: float) -> NDArray[np.uint8]:
        """
        Say what is where.

        :param place: (..., 2), mm.
        :param phase: of the cycle.
        :return: (...), CAVITY, MYOCARDIUM or 0.
        """
        radius = np.linalg.norm(self.material(place, phase) - self.centre_mm, axis=-1)
        wall = np.where(radius <= self.epi_mm, MYOCARDIUM, 0)
        return np.where(radius < self.endo_mm, CAVITY, wall).astype(np.uint8)

    def _contraction(self, phase: float) -> tuple[float, float]:
        """Return c and D of a time."""
        lost = (1 - self.area_ratio) * float(self.activation(phase))  # 1 - k
        offset = lost * self.reach_mm**2 * (1 + _BLEND) / (1 - _BLEND)
        return 1 - lost * (1 + _BLEND), offset

    def _shrink(self, square: NDArray, phase: float) -> NDArray[np.float64]:
        """Return s / S."""
        c, offset = self._contraction(phase)
        if offset == 0:
            return np.ones_like(square)
        first, second = c * square - _BLEND * offset, square - offset
        root = np.sqrt((first - second) ** 2 + 4 * _BLEND * offset**2)
        total = first + second
        # two forms of the root, each where it does not cancel; the second is 0 / 0
        # nowhere that it is taken
        near = 2 * ((c + _BLEND) * offset - c * square) / (root - total)
        far = (total + root) / 2 / np.where(total > 0, square, 1.0)
        return np.where(total > 0, far, near)

    def _grow(self, now: NDArray, phase: float) -> NDArray[np.float64]:
        """Return S / s."""
        c, offset = self._contraction(phase)
        if offset == 0:
            return np.ones_like(now)
        first, second = now + _BLEND * offset, c * (now + offset)
        root = np.sqrt((first - second) ** 2 + 4 * c * _BLEND * offset**2)
        return 2 * (now + (1 + _BLEND) * offset) / (first + second + root)

    def _shift(self, phase: float) -> NDArray[np.float64]:
        return float(self.activation(phase)) * np.asarray(self.drift_mm, np.float64)

    def _twist(self, square: NDArray, phase: float) -> NDArray[np.float64]:
        """Return the angle by which tissue has turned that was at a squared radius."""
        angle = np.deg2rad(self.twist_deg) * float(self.activation(phase))
        return angle * np.exp(-square / (2 * self.twist_reach_mm**2))


def draw_heart(rng: np.random.Generator) -> Heart:
    """
    Draw a ventricle: its place, size, thickness, contraction and twist.

    :param rng: the source of all random numbers.
    """
    endo = rng.uniform(16, 22)
    return Heart(
        centre_mm=(rng.uniform(-4, 4), rng.uniform(38, 44)),
        endo_mm=endo,
        epi_mm=endo + rng.uniform(7, 10),
        area_ratio=rng.uniform(0.25, 0.5),
        reach_mm=endo * rng.uniform(0.8, 0.95),
        twist_deg=rng.uniform(-15, 15),
        twist_reach_mm=rng.uniform(18, 28),
        systole=rng.uniform(0.32, 0.42),
        drift_mm=(rng.uniform(-1.5, 1.5), rng.uniform(-2, 2)),
    )


def _turn(vectors: NDArray, angles: NDArray) -> NDArray[np.float64]:
    """Turn vectors (..., 2) by angles (...)."""
    cos, sin = np.cos(angles), np.sin(angles)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
