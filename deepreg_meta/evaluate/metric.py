"""
Measure one registration: overlap, landmark errors and folding, in plain NumPy.

Every function is pure and knows neither files nor TensorFlow. Fields and points are in
voxels; a function that returns a length takes the spacing that turns voxels into mm.
Where a spacing is nominal, pass (1, 1, 1): the lengths are then voxels, and whoever
prints them has to say so (`unit="voxels"` in `report.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

FOREGROUND = 0.5  # a voxel belongs to a soft label from here on, as in DeepReg

LabelStack = Sequence[ArrayLike] | NDArray  # (L, d1, d2, d3)


class LandmarkError(TypedDict):
    """The errors of one landmark; None where there is none to measure."""

    tre_mm: float | None
    tre_blob_mm: float | None
    lost: bool  # the landmark's blob vanished in warping


def dsc(a: ArrayLike, b: ArrayLike, threshold: float = FOREGROUND) -> float:
    """
    Compute the hard Dice similarity coefficient of two labels.

    :param a: label, binary or soft in [0, 1], any shape.
    :param b: label of the same shape.
    :param threshold: a voxel with value >= threshold is foreground.
    :return: 2 |a & b| / (|a| + |b|) in [0, 1]; nan when both labels are empty, as
        there is nothing to compare (neither a success nor a failure).
    :raises ValueError: when the shapes differ.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(
            "dsc: expected two labels of one shape, "
            f"got {a.shape} and {b.shape}. Warp the moving label first."
        )
    in_a, in_b = a >= threshold, b >= threshold
    total = int(in_a.sum()) + int(in_b.sum())
    if total == 0:
        return float("nan")
    return 2.0 * int((in_a & in_b).sum()) / total


def dsc_masked(
    a: ArrayLike, b: ArrayLike, mask: ArrayLike, threshold: float = FOREGROUND
) -> float:
    """
    Compute Dice on some of the voxels, e.g. on those off the sampled frames.

    :param a: label, binary or soft in [0, 1], shape (d1, d2, d3).
    :param b: label of the same shape.
    :param mask: voxels that count (true or >= 0.5), of a shape that broadcasts to the
        labels', such as (1, d2, 1) for whole frames of axis 1.
    :param threshold: as in `dsc`.
    :return: Dice in [0, 1]; nan when both labels are empty on the mask.
    :raises ValueError: when the shapes do not agree.
    """
    a, b = np.asarray(a), np.asarray(b)
    keep = np.asarray(mask) >= FOREGROUND
    if np.broadcast_shapes(keep.shape, a.shape) != a.shape:
        raise ValueError(
            "dsc_masked: expected a mask that broadcasts to the labels, "
            f"got mask {keep.shape} and label {a.shape}."
        )
    keep = np.broadcast_to(keep, a.shape)
    if a.shape != b.shape:
        return dsc(a, b, threshold)  # raises, naming both shapes
    return dsc(a[keep], b[keep], threshold)


def mse(a: ArrayLike, b: ArrayLike) -> float:
    """
    Compute the mean squared difference of two images.

    :param a: image, any shape.
    :param b: image of the same shape.
    :return: >= 0, in squared intensities.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(np.mean(difference**2))


def ncc(a: ArrayLike, b: ArrayLike) -> float:
    """
    Compute the global normalised cross-correlation of two images.

    :param a: image, any shape.
    :param b: image of the same shape.
    :return: Pearson's correlation of the voxels in [-1, 1]; nan for a constant image.
    """
    x, y = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")


def centroid(
    mask: ArrayLike, threshold: float = FOREGROUND
) -> NDArray[np.float64] | None:
    """
    Find the centre of mass of the foreground, every voxel of equal weight.

    As DeepReg's `compute_centroid`, but without its EPS and without an answer for an
    empty label (DeepReg's is a point far outside the grid).

    :param mask: label, binary or soft in [0, 1], shape (d1, d2, d3).
    :param threshold: a voxel with value >= threshold is foreground.
    :return: (3,) in voxels, the first voxel's centre is 0; None for an empty label.
    """
    voxels = np.argwhere(np.asarray(mask) >= threshold)
    return voxels.mean(axis=0) if len(voxels) else None


def map_points(
    points: ArrayLike, ddf: ArrayLike | None, A: ArrayLike, t: ArrayLike
) -> NDArray[np.float64]:
    """
    Carry points of the fixed grid to the moving grid: y = A (x + u(x)) + t.

    u is interpolated trilinearly; outside the grid it keeps the value of the border.

    :param points: (N, 3) in voxels of the fixed grid.
    :param ddf: displacement u, shape (f1, f2, f3, 3), in voxels of the fixed grid;
        None is no displacement, which leaves the initial alignment alone.
    :param A: (3, 3), the linear part of the initial alignment, fixed to moving voxels.
    :param t: (3,), its offset, in voxels of the moving grid.
    :return: (N, 3) in voxels of the moving grid, float64.
    :raises ValueError: when a shape is another one.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"map_points: expected points (N, 3), got {points.shape}.")
    moved = points
    if ddf is not None:
        ddf = _check_ddf(ddf, "map_points")
        displacement = [
            map_coordinates(ddf[..., axis], points.T, order=1, mode="nearest")
            for axis in range(3)
        ]
        moved = points + np.stack(displacement, axis=-1)  # (N, 3)
    return moved @ np.asarray(A, dtype=np.float64).T + np.asarray(t, dtype=np.float64)


def landmark_errors(
    fixed_landmarks: LabelStack,
    moving_landmarks: LabelStack,
    *,
    ddf: ArrayLike | None,
    A: ArrayLike,
    t: ArrayLike,
    moving_spacing_mm: Sequence[float] | NDArray,
    fixed_spacing_mm: Sequence[float] | NDArray,
    warped_landmarks: LabelStack | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, LandmarkError]:
    """
    Measure the target registration error of each landmark, in two ways.

    `tre_mm` maps the centroid of the fixed landmark by `map_points` and takes its
    distance from the centroid of the moving landmark, on the moving grid. It exists
    for every landmark that both images show. `tre_blob_mm` is DeepReg's variant: the
    distance between the centroids of the warped and of the fixed landmark, on the
    fixed grid. A small blob can be lost in warping; then it is None and `lost` is
    true, to be counted and never averaged in.

    :param fixed_landmarks: (L, f1, f2, f3), in [0, 1], the gland not among them.
    :param moving_landmarks: (L, m1, m2, m3), the same landmarks in the same order.
    :param ddf: (f1, f2, f3, 3) in fixed voxels; None for the alignment alone.
    :param A: (3, 3), see `map_points`.
    :param t: (3,), see `map_points`.
    :param moving_spacing_mm: (3,) voxel size of the moving image, for `tre_mm`.
    :param fixed_spacing_mm: (3,) voxel size of the fixed image, for `tre_blob_mm`.
    :param warped_landmarks: (L, f1, f2, f3), moving landmarks warped by the whole
        transform; None leaves the second variant out (None, not lost).
    :param names: L distinct names; default "1", "2", ... (label channels after the
        gland, channel 0).
    :return: name -> {"tre_mm", "tre_blob_mm", "lost"}; `tre_mm` is None when a
        landmark is empty in one of the two images.
    :raises ValueError: when numbers of landmarks differ or a spacing is not positive.
    """
    moving_spacing = _check_spacing(moving_spacing_mm, "moving_spacing_mm")
    fixed_spacing = _check_spacing(fixed_spacing_mm, "fixed_spacing_mm")
    num = len(fixed_landmarks)
    names = [str(i + 1) for i in range(num)] if names is None else list(names)
    blobs: list[ArrayLike | None] = [None] * num
    if warped_landmarks is not None:
        blobs = list(warped_landmarks)
    if not num == len(moving_landmarks) == len(blobs) == len(set(names)):
        raise ValueError(
            "landmark_errors: expected as many moving and warped landmarks and "
            f"distinct names as fixed landmarks, {num}; got {len(moving_landmarks)}, "
            f"{len(blobs)} and {len(set(names))}."
        )
    errors: dict[str, LandmarkError] = {}
    for name, fixed, moving, blob in zip(
        names, fixed_landmarks, moving_landmarks, blobs, strict=True
    ):
        c_fixed, c_moving = centroid(fixed), centroid(moving)
        mapped = None if c_fixed is None else map_points(c_fixed[None], ddf, A, t)[0]
        c_blob = None if blob is None else centroid(blob)
        present = c_fixed is not None and c_moving is not None
        errors[name] = {
            "tre_mm": _distance(mapped, c_moving, moving_spacing),
            "tre_blob_mm": _distance(c_blob, c_fixed, fixed_spacing),
            "lost": present and blob is not None and c_blob is None,
        }
    return errors


def tre_rms(errors: Iterable[float | None]) -> float:
    """
    Take the root mean square of a case's landmark errors.

    :param errors: lengths of one unit; None (a landmark without error) is left out.
    :return: the same unit; nan for a case without any error.
    """
    values = np.array([value for value in errors if value is not None], dtype=float)
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def count_lost(errors: Mapping[str, LandmarkError]) -> int:
    """
    Count the landmarks whose blob vanished in warping.

    :param errors: as `landmark_errors` returns them.
    :return: a number between 0 and the number of landmarks.
    """
    return sum(bool(error["lost"]) for error in errors.values())


def jacobian_determinant(
    ddf: ArrayLike, A: ArrayLike | None = None
) -> NDArray[np.float64]:
    """
    Compute the local change of volume of x -> A (x + u(x)), in voxels.

    Central differences inside, one-sided ones on the border, so every voxel of the
    grid has a value. Along a singleton axis nothing is differentiated and the
    displacement component is ignored: a 2-D field gives its 2-D determinant.

    :param ddf: displacement u, (f1, f2, f3, 3), in voxels of the fixed grid. Being a
        ratio of volumes, the determinant does not depend on the spacing.
    :param A: (3, 3), linear part of the initial alignment; None is the identity. It
        multiplies the determinant by det A: leave it out to judge folding.
    :return: (f1, f2, f3), float64: 1 keeps volume, > 1 expands, <= 0 is a fold.
    :raises ValueError: when the shape is not (f1, f2, f3, 3).
    """
    ddf = _check_ddf(ddf, "jacobian_determinant").astype(np.float64)
    axes = [axis for axis in range(3) if ddf.shape[axis] > 1]
    jacobian = np.zeros((*ddf.shape[:3], len(axes), len(axes)))
    for column, axis in enumerate(axes):
        for row, component in enumerate(axes):
            jacobian[..., row, column] = np.gradient(ddf[..., component], axis=axis)
        jacobian[..., column, column] += 1.0
    scale = 1.0 if A is None else float(np.linalg.det(np.asarray(A, dtype=float)))
    with np.errstate(invalid="ignore"):  # nan in, nan out: fold_statistics counts it
        return scale * np.linalg.det(jacobian)


def fold_statistics(ddf: ArrayLike) -> dict[str, float]:
    """
    Summarise how far a field is from folding.

    :param ddf: (f1, f2, f3, 3), in voxels of the fixed grid.
    :return: `share_nonpositive`, the share in [0, 1] of voxels with a determinant that
        is not positive (one that is nan, from a diverged network, counts); `min`, the
        least determinant (nan if one is nan); `sd_log`, the standard deviation of the
        logarithm of the positive ones (nan where there are none).
    :raises ValueError: when the shape is not (f1, f2, f3, 3).
    """
    determinant = jacobian_determinant(ddf)
    positive = determinant > 0
    logarithm = np.log(determinant[positive])
    return {
        "share_nonpositive": float(1.0 - positive.mean()),
        "min": float(determinant.min()),
        "sd_log": float(logarithm.std()) if len(logarithm) else float("nan"),
    }


def _check_ddf(ddf: ArrayLike, where: str) -> NDArray:
    ddf = np.asarray(ddf)
    if ddf.ndim != 4 or ddf.shape[-1] != 3:
        raise ValueError(
            f"{where}: expected a ddf (f1, f2, f3, 3), got {ddf.shape}. "
            "Give a 2-D field a singleton last axis and a third, zero component."
        )
    return ddf


def _check_spacing(
    spacing_mm: Sequence[float] | NDArray, name: str
) -> NDArray[np.float64]:
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(
            f"{name}: expected three positive lengths, got {spacing_mm}. "
            "For a nominal spacing pass (1, 1, 1) and report voxels."
        )
    return spacing


def _distance(
    a: NDArray | None, b: NDArray | None, spacing: NDArray[np.float64]
) -> float | None:
    if a is None or b is None:
        return None
    return float(np.linalg.norm((a - b) * spacing))
