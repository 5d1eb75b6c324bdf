"""The scatterers of a simulated echo sequence: where they lie, how strong they are."""

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.sequence.echo import EchoOptions
from deepreg_meta.sequence.heart import CAVITY, MYOCARDIUM, Heart

_CELL = (8 * np.log(2)) ** 0.5  # full width at half maximum, in standard deviations


def draw_scatterers(
    rng: np.random.Generator, heart: Heart, options: EchoOptions
) -> NDArray[np.float64]:
    """
    Scatter points evenly over all tissue that any frame shows.

    :param rng: the source of all random numbers.
    :param heart: whose motion brings tissue into the image.
    :param options: how many.
    :return: where they are at end diastole, (n, 2), mm.
    """
    screen, probe = options.screen, options.probe
    reach = 5 * max(probe.lateral_mm, probe.axial_mm)
    if probe.sector_deg is not None:  # beams widen with the depth
        reach *= max(1.0, screen.bounds[1, 1] / probe.focus_mm)
    edge = [screen.bounds[0] - reach, screen.bounds[1] + reach]
    corners = np.stack(np.meshgrid(*np.transpose(edge), indexing="ij"), axis=-1)
    sides = np.concatenate(
        [np.linspace(corners[a], corners[b], 50)
         for a, b in (((0, 0), (0, 1)), ((0, 1), (1, 1)),
                      ((1, 1), (1, 0)), ((1, 0), (0, 0)))]
    )  # fmt: skip
    phases = np.linspace(0, 1, 25)
    borders = np.concatenate([heart.material(sides, phase) for phase in phases])
    low, high = borders.min(axis=0), borders.max(axis=0)
    cell = _CELL**2 * probe.lateral_mm * probe.axial_mm
    number = int(np.ceil(options.per_cell * np.prod(high - low) / cell))
    return rng.uniform(low, high, size=(number, 2))


def echo_strengths(heart: Heart, material: NDArray, options: EchoOptions) -> NDArray:
    """
    Return how strongly the tissue of each scatterer echoes.

    :param heart: which tissue is where.
    :param material: of the scatterers at end diastole, (n, 2), mm.
    :param options: the strengths.
    :return: (n,).
    """
    kinds = heart.label(material, 0.0)
    strengths = np.full(len(material), options.echo_outside)
    strengths[kinds == CAVITY] = options.echo_cavity
    strengths[kinds == MYOCARDIUM] = 1.0
    return strengths


def renew(
    rng: np.random.Generator, strengths: NDArray, scales: NDArray, share: float
) -> NDArray[np.float64]:
    """
    Replace a part of each scatterer's strength, its variance staying what it is.

    :param rng: the source of all random numbers.
    :param strengths: (n,), normally distributed.
    :param scales: (n,), their standard deviations.
    :param share: which part, in [0, 1).
    :return: (n,), whose correlation with `strengths` is 1 - share.
    """
    kept = 1 - share
    fresh = rng.standard_normal(len(strengths)) * scales
    return kept * strengths + np.sqrt(1 - kept**2) * fresh
