"""
Images of scatterers as B-mode ultrasound shows them: speckle that moves with tissue.

The linear model: the echo of each scatterer is the point-spread function at its place,
a Gaussian that is narrower along the beam than across it, modulated along the beam by a
cosine of 2 f / c cycles per unit of depth; echoes add up; what is shown is the
logarithm of the envelope.

Source: Meunier and Bertrand, "Ultrasonic texture motion analysis: theory and
simulation", IEEE Transactions on Medical Imaging 14(2), 293-300, 1995. Two things are
done otherwise. The envelope is computed without the oscillation: with a cosine of many
cycles the analytic signal is the sum of a_s exp(-i k z_s) times the Gaussian, so that
pixels need not resolve the wavelength and scatterers need not lie on a grid. And beams
may leave from one point (a sector), where the width across grows with the depth.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

_SPEED_MM_US = 1.54  # of sound
_REACH = 4.0  # of the Gaussian, in standard deviations


@dataclass(frozen=True)
class Probe:
    """
    How scatterers are imaged.

    :param frequency_mhz: f.
    :param axial_mm: standard deviation of the point-spread function along the beam.
    :param lateral_mm: across it, at `focus_mm` for a sector.
    :param sector_deg: opening of the sector, whose tip is at depth 0 in the middle of
        the image; None for parallel beams.
    :param focus_mm: depth at which the beam has the width `lateral_mm`; of a sector.
    :param dynamic_range_db: from black to white.
    :param beam_step: distance of beams and of samples along them, in standard
        deviations of the point-spread function; of a sector.
    """

    frequency_mhz: float = 2.5
    axial_mm: float = 0.6
    lateral_mm: float = 1.1
    sector_deg: float | None = None
    focus_mm: float = 45.0
    dynamic_range_db: float = 50.0
    beam_step: float = 0.6

    def __post_init__(self) -> None:
        """:raises ValueError: for values out of range."""
        sizes = (self.frequency_mhz, self.axial_mm, self.lateral_mm, self.focus_mm,
                 self.dynamic_range_db, self.beam_step)  # fmt: skip
        sector = 60.0 if self.sector_deg is None else self.sector_deg
        if not all(0 < size < float("inf") for size in sizes) or not 0 < sector < 180:
            raise ValueError(
                "probe: expected lengths, frequency and range > 0 and a sector between "
                f"0 and 180 degrees, got {self}."
            )

    @property
    def wave_number(self) -> float:
        """K, radians per mm of depth: the echo goes there and back."""
        return 2 * np.pi * 2 * self.frequency_mhz / _SPEED_MM_US


@dataclass(frozen=True, eq=False)
class Screen:
    """
    The pixels of an image.

    :param shape: (columns, rows): axis 0 lateral, axis 1 depth.
    :param spacing_mm: sides of a pixel.
    """

    shape: tuple[int, int]
    spacing_mm: tuple[float, float]

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """
        The middles of the pixels in mm, (columns, rows, 2): the lateral position, 0 in
        the middle, and the depth, 0 at the upper edge.
        """
        columns, rows = self.shape
        across = (np.arange(columns) - (columns - 1) / 2) * self.spacing_mm[0]
        depth = (np.arange(rows) + 0.5) * self.spacing_mm[1]
        return np.stack(np.meshgrid(across, depth, indexing="ij"), axis=-1)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Outer edges in mm, (2, 2): lowest and highest of each axis."""
        half = np.array(self.spacing_mm) / 2
        points = self.points.reshape(-1, 2)
        return np.stack([points.min(axis=0) - half, points.max(axis=0) + half])


@dataclass(frozen=True, eq=False)
class Raster:
    """
    Where echoes are sampled: pixels, or of a sector beams and depths along them.

    :param start: (2,), first sample: lateral position or angle, depth or distance.
    :param steps: (2,), from one sample to the next.
    :param shape: number of samples.
    :param widths: (2,), standard deviations of the point-spread function.
    """

    start: NDArray[np.float64]
    steps: NDArray[np.float64]
    shape: tuple[int, int]
    widths: NDArray[np.float64]


def make_raster(screen: Screen, probe: Probe) -> Raster:
    """
    Choose where echoes are sampled.

    :param screen: the pixels.
    :param probe: how they are imaged.
    """
    if probe.sector_deg is None:
        widths = np.array([probe.lateral_mm, probe.axial_mm])
        steps = np.array(screen.spacing_mm)
        return Raster(screen.points[0, 0], steps, screen.shape, widths)
    half = np.deg2rad(probe.sector_deg) / 2
    widths = np.array([probe.lateral_mm / probe.focus_mm, probe.axial_mm])
    steps = probe.beam_step * widths
    farthest = float(_to_beams(screen.points)[..., 1].max())
    shape = int(np.ceil(2 * half / steps[0])) + 1, int(np.ceil(farthest / steps[1])) + 2
    return Raster(np.array([-half, 0.0]), steps, shape, widths)


def receive(
    places: NDArray, amplitudes: NDArray, raster: Raster, probe: Probe
) -> NDArray[np.complex128]:
    """
    Add up the echoes of scatterers, each one's Gaussian at its very place.

    The oscillation along the beam is left out, so the magnitude is the envelope. A
    Gaussian is cut off where it is below 4e-4 of its peak.

    :param places: (n, 2), mm: lateral position and depth.
    :param amplitudes: (n,).
    :param raster: where echoes are sampled.
    :param probe: how scatterers are imaged.
    :return: on the raster.
    """
    own = places if probe.sector_deg is None else _to_beams(places)
    steps, widths = raster.steps, raster.widths
    reach = np.ceil(_REACH * widths / steps).astype(int)
    at = (own - raster.start) / steps
    shape = np.array(raster.shape)
    near = np.all((at > -reach - 0.5) & (at < shape + reach - 0.5), axis=1)
    at, own, amplitudes = at[near], own[near], amplitudes[near]
    echoes = np.exp(-1j * probe.wave_number * own[:, 1]) * amplitudes
    nearest = np.rint(at).astype(int)
    profiles = []
    for axis in range(2):
        offsets = np.arange(-reach[axis], reach[axis] + 1)
        apart = (nearest[:, axis, None] + offsets - at[:, axis, None]) * steps[axis]
        profiles.append(np.exp(-0.5 * (apart / widths[axis]) ** 2))
    margin = 2 * reach + 1  # of scatterers beyond the raster, with all their Gaussian
    padded = shape + 2 * margin
    lowest = nearest - reach + margin
    first = lowest[:, 0] * padded[1] + lowest[:, 1]
    signal = np.zeros(int(padded.prod()), complex)
    for i, across in enumerate(profiles[0].T):
        for j, along in enumerate(profiles[1].T):
            values = echoes * (across * along)
            index = first + (i * padded[1] + j)
            signal.real += np.bincount(index, values.real, len(signal))
            signal.imag += np.bincount(index, values.imag, len(signal))
    inner = tuple(slice(m, m + n) for m, n in zip(margin, raster.shape, strict=True))
    return signal.reshape(padded)[inner]


def to_screen(
    envelope: NDArray, raster: Raster, screen: Screen, probe: Probe
) -> NDArray[np.float64]:
    """
    Bring an envelope to the pixels, from beams by linear interpolation.

    :param envelope: on the raster.
    :param raster: where echoes were sampled.
    :param screen: the pixels.
    :param probe: how scatterers are imaged.
    :return: (columns, rows); 0 beside a sector.
    """
    if probe.sector_deg is None:
        return envelope
    pixels = _to_beams(screen.points)
    at = np.moveaxis((pixels - raster.start) / raster.steps, -1, 0)
    values = map_coordinates(envelope, at, order=1, mode="nearest")
    half = np.deg2rad(probe.sector_deg) / 2
    return np.where(np.abs(pixels[..., 0]) <= half, values, 0.0)


def _to_beams(points: NDArray) -> NDArray[np.float64]:
    """Return angle (radians, 0 straight down) and distance from the tip, (..., 2)."""
    across, depth = points[..., 0], points[..., 1]
    return np.stack([np.arctan2(across, depth), np.hypot(across, depth)], axis=-1)


def compress(
    envelope: NDArray, reference: float, dynamic_range_db: float
) -> NDArray[np.float32]:
    """
    Bring an envelope to grey values by its logarithm.

    :param envelope: >= 0, any shape.
    :param reference: what becomes white.
    :param dynamic_range_db: below the reference by this and more is black.
    :return: in [0, 1], same shape.
    """
    floor = reference * 10 ** (-dynamic_range_db / 20)
    level = 20 * np.log10(np.maximum(envelope, floor) / reference)
    return np.clip(1 + level / dynamic_range_db, 0, 1).astype(np.float32)
