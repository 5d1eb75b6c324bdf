"""
A simulated echo sequence whose motion is known at every point.

Scatterers move with the tissue of a `Heart` and are imaged by a `Probe`. Nothing is
warped: each frame is an image of its own, with speckle that decorrelates as the tissue
deforms, as in real sequences.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import Landmarks
from deepreg_meta.sequence.echo import EchoOptions
from deepreg_meta.sequence.frames import FrameSequence
from deepreg_meta.sequence.heart import Heart, draw_heart
from deepreg_meta.sequence.scatterers import draw_scatterers, echo_strengths, renew
from deepreg_meta.sequence.speckle import compress, make_raster, receive, to_screen

_WHITE = 99.7  # percentile of the first frame's envelope that becomes white
NUM_POINTS = 12


@dataclass(frozen=True, eq=False)
class EchoSequence:
    """
    A simulated sequence with its truth.

    :param images: (T, columns, rows, 1) float32 in [0, 1].
    :param labels: (T, columns, rows, 1) uint8: 1 cavity, 2 myocardium.
    :param heart: whose motion it is.
    :param options: what it is like.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.uint8]
    heart: Heart
    options: EchoOptions

    @property
    def grid(self) -> Grid:
        """Of every frame, in ITK's plane z = 0: axis 0 to the right, axis 1 down."""
        return echo_grid(self.options)

    @property
    def sequence(self) -> FrameSequence:
        """The frames, as if read from a file."""
        step = self.options.time_step_s
        return FrameSequence(self.images, self.grid, time_step_s=step)

    def ddf(self, fixed: int, moving: int) -> NDArray[np.float64]:
        """
        Return the true displacement from one frame to another, neighbours or not.

        :param fixed: index of the frame on whose grid it lies.
        :param moving: index of the frame that it leads to.
        :return: (columns, rows, 1, 3), voxels.
        """
        own = self.options.screen.points
        phases = self.options.phase(fixed), self.options.phase(moving)
        moved = self.heart.follow(own, *phases) - own
        ddf = np.zeros((*self.options.shape, 1, 3))
        ddf[:, :, 0, :2] = moved / self.options.spacing_mm
        return ddf

    def points(self, index: int, num: int = NUM_POINTS) -> Landmarks:
        """
        Return points of the middle of the wall, where they are in a frame.

        :param index: of the frame.
        :param num: of points, evenly around the ventricle at end diastole.
        :return: named w0, w1, ..., in the space of the grid.
        """
        angles = 2 * np.pi * np.arange(num) / num
        radius = (self.heart.endo_mm + self.heart.epi_mm) / 2
        ring = radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        places = self.heart.place(
            ring + self.heart.centre_mm, self.options.phase(index)
        )
        screen = self.options.screen
        voxels = np.zeros((num, 3))
        voxels[:, :2] = (places - screen.points[0, 0]) / screen.spacing_mm
        names = tuple(f"w{number}" for number in range(num))
        return Landmarks(names, self.grid.to_world(voxels))


def echo_grid(options: EchoOptions) -> Grid:
    """Return the grid of the frames, (columns, rows, 1)."""
    side = options.spacing_mm
    return Grid((*options.shape, 1), np.diag([-side, -side, 1.0, 1.0]))


def simulate(
    seed: int, options: EchoOptions | None = None, heart: Heart | None = None
) -> EchoSequence:
    """
    Simulate a sequence.

    Example::

        echo = simulate(seed=1)
        echo.images[0], echo.ddf(fixed=1, moving=0)

    :param seed: integer >= 0, of the scatterers, and of the heart where none is given.
    :param options: what it is like; None is the default.
    :param heart: whose motion it is; None draws one.
    :return: frames in the order of time, the first at end diastole.
    :raises ValueError: for a negative seed.
    """
    if seed < 0:
        raise ValueError(f"simulate: expected a seed >= 0, got {seed}.")
    options = options or EchoOptions()
    # one stream for each: the heart does not depend on how many scatterers there are
    rng_heart, rng_echo, rng_noise = np.random.default_rng(seed).spawn(3)
    heart = heart or draw_heart(rng_heart)
    material = draw_scatterers(rng_echo, heart, options)
    scales = echo_strengths(heart, material, options)
    strengths = scales * rng_echo.standard_normal(len(material))
    screen, probe = options.screen, options.probe
    raster = make_raster(screen, probe)
    images: list[NDArray] = []
    level, white = 0.0, 0.0
    for index in range(options.num_frames):
        if index and options.decorrelation:
            strengths = renew(rng_echo, strengths, scales, options.decorrelation)
        places = heart.place(material, options.phase(index))
        signal = receive(places, strengths, raster, probe)
        if index == 0:
            level = float(np.sqrt(np.mean(np.abs(signal) ** 2)))
            white = float(np.percentile(np.abs(signal), _WHITE))
        if options.noise_db is not None:
            signal = signal + _noise(rng_noise, signal.shape, level, options.noise_db)
        envelope = to_screen(np.abs(signal), raster, screen, probe)
        images.append(compress(envelope, white, probe.dynamic_range_db))
    phases = (options.phase(index) for index in range(options.num_frames))
    labels = [heart.label(screen.points, phase) for phase in phases]
    return EchoSequence(
        np.stack(images)[..., None], np.stack(labels)[..., None], heart, options
    )


def _noise(
    rng: np.random.Generator, shape: tuple[int, ...], level: float, noise_db: float
) -> NDArray[np.complex128]:
    """Return complex white noise of a root mean square beneath a level."""
    parts = rng.standard_normal((2, *shape)) / np.sqrt(2)
    return level * 10 ** (noise_db / 20) * (parts[0] + 1j * parts[1])
