"""Local change of volume, and folding."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.evaluate.metric.checks import check_ddf


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
    ddf = check_ddf(ddf, "jacobian_determinant").astype(np.float64)
    axes = [axis for axis in range(3) if ddf.shape[axis] > 1]
    jacobian = np.zeros((*ddf.shape[:3], len(axes), len(axes)))
    for column, axis in enumerate(axes):
        for row, component in enumerate(axes):
            jacobian[..., row, column] = np.gradient(ddf[..., component], axis=axis)
        jacobian[..., column, column] += 1.0
    scale = 1.0 if A is None else float(np.linalg.det(np.asarray(A, dtype=float)))
    with np.errstate(invalid="ignore"):  # nan in, nan out: the statistics count it
        return scale * np.linalg.det(jacobian)


def jacobian_determinant_world(
    vectors: ArrayLike, affine: ArrayLike
) -> NDArray[np.float64]:
    """
    Compute the local change of volume of p -> p + d(p), in mm.

    With voxel v at p = A v + t, the map is v -> v + inv(A) d in voxels, and a change of
    coordinates leaves the determinant as it is: the derivatives are right for grids of
    every spacing and orientation, oblique ones too. Differences and singleton axes as
    in `jacobian_determinant`.

    :param vectors: d, (f1, f2, f3, 3), mm, axes of the world.
    :param affine: (4, 4) of the grid, voxel to world.
    :return: (f1, f2, f3), float64.
    :raises ValueError: when a shape is another one.
    """
    vectors = check_ddf(vectors, "jacobian_determinant_world")
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(
            "jacobian_determinant_world: expected an affine (4, 4), got "
            f"{matrix.shape}."
        )
    return jacobian_determinant(vectors @ np.linalg.inv(matrix[:3, :3]).T)


def determinant_statistics(determinant: NDArray) -> dict[str, float]:
    """
    Summarise how far a map is from folding.

    :param determinant: of its Jacobian, any shape.
    :return: `share_nonpositive`, the share in [0, 1] of voxels with a determinant that
        is not positive (one that is nan, from a diverged network, counts); `min`, the
        least determinant (nan if one is nan); `sd_log`, the standard deviation of the
        logarithm of the positive ones (nan where there are none).
    """
    positive = determinant > 0
    logarithm = np.log(determinant[positive])
    return {
        "share_nonpositive": float(1.0 - positive.mean()),
        "min": float(determinant.min()),
        "sd_log": float(logarithm.std()) if len(logarithm) else float("nan"),
    }


def fold_statistics(ddf: ArrayLike) -> dict[str, float]:
    """
    Summarise how far a field is from folding.

    :param ddf: (f1, f2, f3, 3), in voxels of the fixed grid.
    :return: see `determinant_statistics`.
    :raises ValueError: when the shape is not (f1, f2, f3, 3).
    """
    return determinant_statistics(jacobian_determinant(ddf))
