"""
Smooth random displacement fields of a given energy: spatial mixtures of Gaussians.

    u(x) = s * sum over c of a_c exp(-|x - mu_c|^2 / (2 w_c^2))

with random centres mu_c, widths w_c and amplitudes a_c, and the one factor s that gives
the field its deformation energy. The same formula stands in `random_field.py` for the
graph of a training.

Source of the idea: Al Safadi and Song, CVPR 2021, section 5.1: a Gaussian mixture of
deformation energy sigma, 10 (moderate) or 16 (large), on images of 256 x 256. They
define neither the energy nor the mixture; here sigma is the root mean square of the
displacement's components over the image, in pixels of an image with 256 a side.

The reading is chosen by what it does to liver labels of CT slices of 256 x 256, before
any registration, with the default widths and numbers (200 fields, 100 warped labels):

    reading                           sigma  mean |u|  peak  Dice  folds: fields, pixels
    root mean square of a component      10      12.2    31  0.66      0 %,    0 %
                                         16      19.5    49  0.51     10 %, 0.13 %
    root mean square of the length       10       8.6    22  0.75      0 %,    0 %
                                         16      13.8    35  0.63    0.5 %, 0.004 %
    longest displacement                 10       4.0    10  0.88      0 %,    0 %
                                         16       6.5    16  0.81      0 %,    0 %

Under the first one 10 hardly ever folds, 16 does now and then, and both leave less
overlap than the source's weakest method reaches (0.74 and 0.57 in its Table 1); under
the last one, 16 would leave more than most methods of that table reach.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.evaluate.metric.jacobian import jacobian_determinant

Shape = tuple[int, int, int]
REFERENCE = 256.0  # side of the source's images
MAX_DRAWS = 100  # for a field without folds


@dataclass(frozen=True)
class FieldOptions:
    """
    Which fields are drawn.

    Lengths count pixels of an image with `reference` of them along every axis and are
    rescaled by side / reference, axis by axis: an image of 128 x 128 is deformed as one
    of 256 x 256 that was halved, and one with few thick slices is not torn across them.

    :param sigma: deformation energy >= 0: the root mean square, over voxels and moving
        components, of the displacement; 0 is the identity.
    :param num_centers: Gaussians of the mixture, >= 1; None takes 4 to the power of the
        moving axes, 16 in an image and 64 in a volume: 16 leave so much of a volume
        untouched that a fifth of its fields fold at a sigma of 10.
    :param width: (least, greatest) standard deviation of the Gaussians, > 0.
    :param reference: see above; None takes the image's own voxels.
    :param fold_free: draw until the Jacobian determinant is positive at every voxel.
        The energy stays what it is, but of fields that often fold smoother ones remain.
    """

    sigma: float = 10.0
    num_centers: int | None = None
    width: tuple[float, float] = (32.0, 64.0)
    reference: float | None = REFERENCE
    fold_free: bool = False

    def __post_init__(self) -> None:
        """:raises ValueError: for a number out of range."""
        for name, rule, is_good in (
            ("sigma", "a number >= 0", self.sigma >= 0),
            (
                "num_centers",
                "None or an integer >= 1",
                self.num_centers is None or self.num_centers >= 1,
            ),
            (
                "width",
                "two numbers with 0 < least <= greatest",
                len(self.width) == 2 and 0 < self.width[0] <= self.width[1],
            ),
            (
                "reference",
                "None or a number > 0",
                self.reference is None or self.reference > 0,
            ),
        ):
            if not is_good:
                raise ValueError(
                    f"gaussian_field.{name}: expected {rule}, got "
                    f"{getattr(self, name)}."
                )

    def count(self, size: Shape) -> int:
        """Return how many Gaussians a field on a grid has."""
        return self.num_centers or 4 ** sum(side > 1 for side in size)


@dataclass(frozen=True, eq=False)
class Mixture:
    """
    What is random about a field; it belongs to no grid.

    :param centers: (n, 3), shares of the image's sides, in [0, 1].
    :param widths: (n,), standard deviations in reference pixels.
    :param amplitudes: (n, 3), of any common scale.
    """

    centers: NDArray
    widths: NDArray
    amplitudes: NDArray


def voxel_units(size: Shape, reference: float | None) -> NDArray[np.float64]:
    """
    Return how many voxels a reference pixel is along each axis.

    :param size: (d1, d2, d3).
    :param reference: as in `FieldOptions`.
    :return: (3,).
    """
    return np.ones(3) if reference is None else np.asarray(size) / reference


def draw_mixture(
    rng: np.random.Generator, size: Shape, options: FieldOptions
) -> Mixture:
    """
    Draw a mixture: centres uniform over the image, directions uniform, widths uniform.

    :param rng: source of all random numbers.
    :param size: (d1, d2, d3) of the grid.
    :param options: how many Gaussians, and how wide.
    :return: the mixture; the lengths of its amplitudes are those of normal vectors.
    """
    number = options.count(size)
    return Mixture(
        rng.uniform(0.0, 1.0, (number, 3)),
        rng.uniform(*options.width, number),
        rng.normal(size=(number, 3)),
    )


def evaluate_mixture(
    mixture: Mixture, size: Shape, options: FieldOptions
) -> NDArray[np.float64]:
    """
    Evaluate a mixture at the voxels of a grid, with the energy wanted.

    A Gaussian is the product of three, one along each axis: a grid costs one product of
    matrices per component.

    :param mixture: what was drawn.
    :param size: (d1, d2, d3); nothing moves along, or varies across, a singleton axis.
    :param options: energy and unit of length.
    :return: ddf, (d1, d2, d3, 3), in voxels.
    :raises ValueError: for Gaussians too narrow to reach any voxel.
    """
    units = voxel_units(size, options.reference)
    profiles = [np.ones((len(mixture.widths), n)) for n in size]
    moving = [axis for axis in range(3) if size[axis] > 1]
    for axis in moving:
        places = (np.arange(size[axis]) + 0.5) / units[axis]
        centers = mixture.centers[:, axis, None] * size[axis] / units[axis]
        profiles[axis] = np.exp(
            -0.5 * ((places - centers) / mixture.widths[:, None]) ** 2
        )
    planes = profiles[1][:, :, None] * profiles[2][:, None, :]
    planes = planes.reshape(len(planes), -1)  # (n, d2 * d3)
    field = np.zeros((*size, 3))
    for axis in moving:
        rows = mixture.amplitudes[:, axis, None] * profiles[0]
        field[..., axis] = (rows.T @ planes).reshape(size)
    rms = _root_mean_square(field, moving)
    if rms == 0.0 and moving:
        raise ValueError(
            "gaussian_field.width: expected Gaussians that reach a voxel of the grid "
            f"{tuple(size)}, got standard deviations of {mixture.widths.min():g} to "
            f"{mixture.widths.max():g} pixels of {options.reference} a side."
        )
    scale = options.sigma / rms if moving else 0.0
    return field * (scale * units)


def deformation_energy(ddf: ArrayLike, reference: float | None = REFERENCE) -> float:
    """
    Measure the deformation energy of a field, as `FieldOptions.sigma` counts it.

    :param ddf: (d1, d2, d3, 3), in voxels.
    :param reference: as in `FieldOptions`.
    :return: sigma, in reference pixels; 0 where every axis is a singleton.
    """
    ddf = np.asarray(ddf, np.float64)
    size = (ddf.shape[0], ddf.shape[1], ddf.shape[2])
    moving = [axis for axis in range(3) if size[axis] > 1]
    return _root_mean_square(ddf / voxel_units(size, reference), moving)


def _root_mean_square(field: NDArray, axes: list[int]) -> float:
    return float(np.sqrt(np.mean(field[..., axes] ** 2))) if axes else 0.0


def draw_field(
    rng: np.random.Generator, size: Shape, options: FieldOptions
) -> NDArray[np.float64]:
    """
    Draw a displacement field.

    :param rng: source of all random numbers.
    :param size: (d1, d2, d3) of the grid.
    :param options: which fields.
    :return: ddf, (d1, d2, d3, 3), in voxels; its energy is `options.sigma`.
    :raises ValueError: when `fold_free` is asked of fields that always fold.
    """
    for _ in range(MAX_DRAWS):
        ddf = evaluate_mixture(draw_mixture(rng, size, options), size, options)
        if not options.fold_free or jacobian_determinant(ddf).min() > 0.0:
            return ddf
    raise ValueError(
        f"gaussian_field.fold_free: expected a field without folds among {MAX_DRAWS}, "
        f"got none with sigma {options.sigma:g} and widths {options.width}. Take wider "
        "Gaussians or less energy."
    )
