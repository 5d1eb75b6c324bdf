"""Similarity of two images of one modality."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter

from deepreg_meta.evaluate.metric.checks import check_mask, check_shapes

# Of a window, in units of the variance of the whole image: less is rounding.
_LEAST_VARIANCE = 1e-10


def mse(a: ArrayLike, b: ArrayLike, mask: ArrayLike | None = None) -> float:
    """
    Compute the mean squared difference of two images.

    :param a: image, any shape.
    :param b: image of the same shape.
    :param mask: voxels that count, see `check_mask`; None counts all.
    :return: >= 0, in squared intensities; nan when no voxel counts.
    :raises ValueError: when the shapes do not agree.
    """
    x, y = _select(a, b, mask, "mse")
    return float(np.mean((x - y) ** 2)) if len(x) else float("nan")


def ncc(a: ArrayLike, b: ArrayLike, mask: ArrayLike | None = None) -> float:
    """
    Compute the global normalised cross-correlation of two images.

    :param a: image, any shape.
    :param b: image of the same shape.
    :param mask: voxels that count, see `check_mask`; None counts all.
    :return: Pearson's correlation of the voxels in [-1, 1]; nan for an image that is
        constant where voxels count.
    :raises ValueError: when the shapes do not agree.
    """
    x, y = _select(a, b, mask, "ncc")
    # asked before: a mean is rounded, and what it leaves of a constant is no zero
    if not len(x) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")


def local_ncc(
    a: ArrayLike, b: ArrayLike, mask: ArrayLike | None = None, window: int = 9
) -> float:
    """
    Compute the mean squared local cross-correlation of two images.

    In a cube of `window` voxels around each voxel,
    cc = (sum (a - mean a)(b - mean b))^2 / (sum (a - mean a)^2 sum (b - mean b)^2);
    the answer is its mean over the voxels that count. Nothing is averaged along a
    singleton axis.

    Source: Balakrishnan et al. 2019, VoxelMorph, arXiv:1809.05231, eq. 5, and DeepReg's
    loss of that name. Both fill up windows at the border of the image with zeros, which
    then show as contrast, and add a small constant to the quotient. Here windows end at
    the border (of the mask, too); a window in which one image is constant has cc = 0,
    and one in which both are says nothing and is left out.

    :param a: image, (d1, d2, d3).
    :param b: image of the same shape.
    :param mask: voxels that count and are used, see `check_mask`; None takes all.
    :param window: side of the cube in voxels, odd, >= 3.
    :return: in [0, 1]; nan when no window counts, or a voxel that does is no number.
    :raises ValueError: when the shapes do not agree or the window is another one.
    """
    if window < 3 or window % 2 == 0:
        raise ValueError(f"local_ncc: expected an odd window >= 3, got {window}.")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    check_shapes(a, b, "local_ncc")
    keep = check_mask(True if mask is None else mask, a.shape, "local_ncc")
    if not keep.any() or not np.isfinite([a[keep], b[keep]]).all():
        return float("nan")
    a, b = _standardise(a, keep), _standardise(b, keep)
    sides = [window if side > 1 else 1 for side in a.shape]

    def filtered(values: NDArray) -> NDArray:
        return uniform_filter(values, sides, mode="constant")[keep]

    share = filtered(keep.astype(np.float64))  # of each window that is in the mask

    def average(values: NDArray) -> NDArray:
        return filtered(values) / share

    mean_a, mean_b = average(a), average(b)
    var_a, var_b = average(a * a) - mean_a**2, average(b * b) - mean_b**2
    covariance = average(a * b) - mean_a * mean_b
    flat_a, flat_b = var_a < _LEAST_VARIANCE, var_b < _LEAST_VARIANCE
    counts, both = ~(flat_a & flat_b), ~flat_a & ~flat_b
    if not counts.any():
        return float("nan")
    cc = np.minimum(covariance[both] ** 2 / (var_a[both] * var_b[both]), 1.0)
    return float(cc.sum() / counts.sum())


def _select(
    a: ArrayLike, b: ArrayLike, mask: ArrayLike | None, where: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the voxels that count, in float64: sums over volumes lose digits."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    check_shapes(x, y, where)
    if mask is None:
        return x.ravel(), y.ravel()
    keep = check_mask(mask, x.shape, where)
    return x[keep], y[keep]


def _standardise(image: NDArray, keep: NDArray[np.bool_]) -> NDArray[np.float64]:
    """
    Bring an image to mean 0 and variance 1 on the mask, and to 0 off it: local
    variances are differences of squares, which cancel badly for large intensities.
    """
    values = image[keep]
    spread = values.std()
    centred = np.where(keep, image - values.mean(), 0.0)
    return centred / spread if spread > 0 else np.zeros_like(centred)
