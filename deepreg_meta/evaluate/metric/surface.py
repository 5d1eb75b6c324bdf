"""
Distances between the surfaces of two labels, in mm.

The surface of a label is the set of its voxels that share a face with a voxel outside
it; what lies beyond the volume counts as outside. A singleton axis has no faces: in 2-D
the surface is the outline. Distances run from voxel centre to voxel centre.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import (
    binary_erosion,
    distance_transform_edt,
    find_objects,
    generate_binary_structure,
)

from deepreg_meta.evaluate.metric.checks import (
    FOREGROUND,
    check_shapes,
    check_spacing,
)


def surface_distances(
    a: ArrayLike, b: ArrayLike, spacing_mm: Sequence[float] | NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Measure how far each surface voxel of a label is from the surface of the other.

    :param a: label, binary or soft in [0, 1] (foreground from 0.5 on), (d1, d2, d3).
    :param b: label of the same shape.
    :param spacing_mm: (3,) voxel size.
    :return: the distances from a to b, one per surface voxel of a, and those from b to
        a, in mm; both empty when one of the labels is.
    :raises ValueError: when the shapes differ or have not three sides, or the spacing
        is not positive.
    """
    in_a, in_b = np.asarray(a) >= FOREGROUND, np.asarray(b) >= FOREGROUND
    check_shapes(in_a, in_b, "surface_distances")
    if in_a.ndim != 3:
        raise ValueError(
            f"surface_distances: expected labels (d1, d2, d3), got {in_a.shape}. Give "
            "2-D labels a singleton axis."
        )
    spacing = check_spacing(spacing_mm, "surface_distances: spacing_mm")
    if not in_a.any() or not in_b.any():
        return np.empty(0), np.empty(0)
    # nothing outside the box that holds both matters, and most volumes are much larger
    box = find_objects((in_a | in_b).astype(np.uint8))[0]
    on_a, on_b = _surface(in_a[box], in_a.shape), _surface(in_b[box], in_b.shape)
    to_a = distance_transform_edt(~on_a, sampling=spacing)
    to_b = distance_transform_edt(~on_b, sampling=spacing)
    return to_b[on_a], to_a[on_b]


def hd95(a: ArrayLike, b: ArrayLike, spacing_mm: Sequence[float] | NDArray) -> float:
    """
    Compute the 95 % Hausdorff distance of two labels.

    The larger one of the 95th percentiles of the two directed sets of distances, every
    surface voxel of equal weight, percentiles interpolated linearly: MONAI's
    definition. medpy takes the percentile of both sets together, and DeepMind's
    surface-distance weighs by area (`surfel.robust_hausdorff`).

    :param a: label, see `surface_distances`.
    :param b: label of the same shape.
    :param spacing_mm: (3,) voxel size.
    :return: in mm; nan when one of the labels is empty.
    :raises ValueError: as `surface_distances`.
    """
    directed = surface_distances(a, b, spacing_mm)
    if not len(directed[0]):
        return float("nan")
    return float(max(np.percentile(distances, 95) for distances in directed))


def asd(a: ArrayLike, b: ArrayLike, spacing_mm: Sequence[float] | NDArray) -> float:
    """
    Compute the symmetric average surface distance of two labels.

    The mean over all surface voxels of both labels, each with its distance from the
    other surface; the label with the larger surface weighs more. Source: Heimann et al.
    2009, IEEE Trans. Med. Imaging 28(8), 1251-1265.

    :param a: label, see `surface_distances`.
    :param b: label of the same shape.
    :param spacing_mm: (3,) voxel size.
    :return: in mm; nan when one of the labels is empty.
    :raises ValueError: as `surface_distances`.
    """
    distances = np.concatenate(surface_distances(a, b, spacing_mm))
    return float(distances.mean()) if len(distances) else float("nan")


def _surface(label: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """
    Find the surface of a label that was cut out of a volume of some shape: an axis is
    flat when the volume is, not when the label is.
    """
    faces = generate_binary_structure(3, 1)
    for axis in np.flatnonzero(np.equal(shape, 1)):
        np.moveaxis(faces, axis, 0)[[0, 2]] = False
    return label & ~binary_erosion(label, faces)
