"""Errors of a displacement field whose truth is known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.evaluate.metric.checks import check_ddf, check_mask, check_spacing


def endpoint_errors(
    ddf: ArrayLike,
    truth: ArrayLike,
    spacing_mm: Sequence[float] | NDArray | None = None,
) -> NDArray[np.float64]:
    """
    Measure how far from its true place a field takes each voxel: |u(x) - truth(x)|.

    Along a singleton axis nothing moves: the component is ignored.

    :param ddf: (f1, f2, f3, 3), voxels.
    :param truth: of the same shape, voxels of the same grid.
    :param spacing_mm: (3,), voxel sides, for errors in mm; None counts voxels.
    :return: (f1, f2, f3).
    :raises ValueError: when a shape or the spacing is another one.
    """
    ddf = check_ddf(ddf, "endpoint_errors").astype(np.float64)
    truth = check_ddf(truth, "endpoint_errors")
    if ddf.shape != truth.shape:
        raise ValueError(
            f"endpoint_errors: expected two fields on one grid, got {ddf.shape} and "
            f"{truth.shape}. Resample one of them first."
        )
    sides: NDArray[np.float64] = np.ones(3)
    if spacing_mm is not None:
        sides = check_spacing(spacing_mm, "endpoint_errors spacing_mm")
    moving = [axis for axis in range(3) if ddf.shape[axis] > 1]
    difference = (ddf - truth)[..., moving] * sides[moving]
    return np.sqrt(np.sum(difference**2, axis=-1))


def endpoint_statistics(
    ddf: ArrayLike,
    truth: ArrayLike,
    mask: ArrayLike | None = None,
    spacing_mm: Sequence[float] | NDArray | None = None,
) -> dict[str, float]:
    """
    Summarise the endpoint errors of a field.

    :param ddf: (f1, f2, f3, 3), voxels.
    :param truth: of the same shape, voxels of the same grid.
    :param mask: voxels that count, see `check_mask`; None counts all.
    :param spacing_mm: as in `endpoint_errors`.
    :return: `mean`, `median` and `p95`, the 95th percentile, in voxels or mm; nan where
        no voxel counts, or one that does has no displacement (nan).
    :raises ValueError: when the shapes do not agree.
    """
    errors = endpoint_errors(ddf, truth, spacing_mm)
    if mask is not None:
        errors = errors[check_mask(mask, errors.shape, "endpoint_statistics")]
    if not errors.size:
        return dict.fromkeys(("mean", "median", "p95"), float("nan"))
    median, p95 = np.percentile(errors, (50, 95))
    return {"mean": float(errors.mean()), "median": float(median), "p95": float(p95)}
