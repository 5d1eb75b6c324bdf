"""Inverses of transforms, with how far they are from the truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import apply, from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Affine, Field, Transform

_MAX_ITERATIONS = 100
_TOLERANCE_VOX = 1e-4  # of the smallest side; far below the error of interpolation
_STEPS = (0.05, 2.0)  # shortest and longest
_ROUNDING_VOX = 1e-3  # beyond the outer voxel centres, for which no voxels are added
_MIN_STRETCH = 0.1  # of the affine map taken out of a field; below it, none is


@dataclass(frozen=True)
class Residual:
    """
    How far an inverse misses: |Tinv(T(p)) - p| over the voxels p of the field.

    A field that folds has no inverse; it shows here as a large residual.

    :param mean_mm: mean.
    :param p95_mm: 95th percentile.
    :param max_mm: maximum.
    :param share_unconverged: share of the voxels of the inverse's own field at which
        the iteration did not end, in [0, 1].
    """

    mean_mm: float
    p95_mm: float
    max_mm: float
    share_unconverged: float

    def __str__(self) -> str:
        """:return: one line for a log."""
        return (
            f"mean {self.mean_mm:.3g} mm, 95 % below {self.p95_mm:.3g} mm, maximum "
            f"{self.max_mm:.3g} mm, {100 * self.share_unconverged:.2g} % of the voxels "
            "not converged"
        )


def invert(
    transform: Transform, grid: Grid | None = None
) -> tuple[Transform, Residual]:
    """
    Find the transform that leads back.

    Affine maps before and after the fields are inverted exactly. The fields, and what
    lies between them, become one field, whose best affine map is taken out, so that a
    rotation does not hinder the iteration; the rest is inverted at the voxels of a
    grid that reaches as far as the field leads. Beyond a grid the displacement of its
    border goes on, there and back.

    Source of the iteration: Chen et al. 2008, "A simple fixed-point approach to invert
    a deformation field", Medical Physics 35(1). Its steps of length 1 diverge where the
    field stretches by more than 2, so each point has its own, after Barzilai and
    Borwein 1988, IMA Journal of Numerical Analysis 8(1), halved where it fails.

    :param transform: T, fixed space to moving space.
    :param grid: in fixed space, where the fields are summed up and the residual is
        measured; None takes the grid of the first field.
    :return: the inverse, moving space to fixed space, and its residual.
    """
    matrix = transform.matrix
    if matrix is not None:
        inverse = Transform((Affine(_inv(matrix)),))
        return inverse, Residual(0.0, 0.0, 0.0, 0.0)
    before, field, after = _split(transform, grid)
    field.check_finite("invert")
    back, rest, share = _invert_field(field)
    inverse = Transform((Affine(back @ _inv(after)), rest))
    if not np.array_equal(before, np.eye(4)):
        inverse = inverse.then(Transform((Affine(_inv(before)),)))
    # the field's voxels as seen from fixed space
    measured = Grid(field.grid.shape, _inv(before) @ field.grid.affine)
    errors = np.empty(measured.shape)
    for part, voxels in measured.slabs():
        returned = inverse.map_points(transform.map_slab(measured, part, voxels))
        errors[part] = np.linalg.norm(returned - measured.to_world(voxels), axis=-1)
    mean, p95, largest = errors.mean(), np.percentile(errors, 95), errors.max()
    return inverse, Residual(float(mean), float(p95), float(largest), share)


def _split(
    transform: Transform, grid: Grid | None
) -> tuple[NDArray[np.float64], Field, NDArray[np.float64]]:
    """Return the affine map before the fields, all of them as one, and that after."""
    fields = {
        index: part
        for index, part in enumerate(transform.parts)
        if isinstance(part, Field)
    }
    first, last = (0 if grid is not None else min(fields)), max(fields) + 1
    before, after = transform.parts[:first], transform.parts[last:]
    field = fields[min(fields)]
    if last - first > 1 or grid is not None:
        core = Transform(transform.parts[first:last])
        field = core.as_field(grid or field.grid)
    return _matrix(before), field, _matrix(after)


def _inv(matrix: NDArray) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _matrix(parts: tuple) -> NDArray[np.float64]:
    matrix = Transform(parts).matrix
    return np.eye(4) if matrix is None else matrix


def _invert_field(field: Field) -> tuple[NDArray[np.float64], Field, float]:
    """
    Invert a field: first an affine map, then a field.

    :return: (4, 4), the field, and the share of its voxels without convergence.
    """
    back = _inv(_best_affine(field))
    grid = field.grid
    rest = np.empty((*grid.shape, 3), np.float32)
    for part, voxels in grid.slabs():
        points = grid.to_world(voxels)
        rest[part] = apply(back, points + field.vectors[part]) - points
    forward = Field(grid, rest, "border")
    reach = _landing_grid(forward)
    vectors, num_left = np.empty((*reach.shape, 3), np.float32), 0
    for part, voxels in reach.slabs():
        goals = reach.to_world(voxels).reshape(-1, 3)
        starts, is_left = solve_points(forward, goals)
        vectors[part] = (starts - goals).reshape(*voxels.shape)
        num_left += int(is_left.sum())
    share = num_left / float(np.prod(reach.shape))
    return back, Field(reach, vectors, "border"), share


def _best_affine(field: Field) -> NDArray[np.float64]:
    """
    Fit p -> p + d(p) by an affine map, in the sense of least squares.

    :return: (4, 4), the identity where the fit would flatten space.
    """
    grid = field.grid
    mean = field.vectors.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    slopes = np.zeros((3, 3))
    for axis, length in enumerate(grid.shape):
        # centred coordinates of a full grid are uncorrelated: one axis at a time
        places = np.arange(length) - (length - 1) / 2
        others = tuple(other for other in range(3) if other != axis)
        profile = field.vectors.mean(axis=others, dtype=np.float64)
        if length > 1:
            slopes[:, axis] = places @ profile / (places @ places)
    matrix = np.eye(3) + slopes @ _inv(grid.affine[:3, :3])
    if np.linalg.svd(matrix, compute_uv=False).min() < _MIN_STRETCH:
        return np.eye(4)
    return from_parts(matrix, grid.centre + mean - matrix @ grid.centre)


def _landing_grid(field: Field) -> Grid:
    """Return the field's grid, with the voxels around it that the field leads to."""
    grid = field.grid
    to_voxels = _inv(grid.affine[:3, :3])
    lowest, highest = np.zeros(3), np.array(grid.shape) - 1.0
    for part, voxels in grid.slabs():
        landed = (voxels + field.vectors[part] @ to_voxels.T).reshape(-1, 3)
        lowest = np.minimum(lowest, landed.min(axis=0))
        highest = np.maximum(highest, landed.max(axis=0))
    margin = np.stack([-lowest, highest - np.array(grid.shape) + 1], axis=1)
    # a field that leads further than its own size is broken, as the residual will tell
    margin = np.minimum(np.ceil(margin - _ROUNDING_VOX), np.array(grid.shape)[:, None])
    return grid.padded(margin)


def solve_points(
    field: Field, goals: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """
    Find p with p + d(p) = goal by p <- p - step (p + d(p) - goal).

    :param field: d.
    :param goals: (n, 3).
    :return: p, (n, 3), and where the tolerance was not reached, (n).
    """
    tolerance = _TOLERANCE_VOX * field.grid.spacing_mm.min()
    points = goals.copy()
    errors = field.map_points(points) - goals
    sizes = np.linalg.norm(errors, axis=-1)
    steps = np.ones(len(goals))
    for _ in range(_MAX_ITERATIONS):
        left = np.flatnonzero(sizes > tolerance)
        if not left.size:
            break
        moves = -steps[left, None] * errors[left]
        trial = points[left] + moves
        trial_errors = field.map_points(trial) - goals[left]
        trial_sizes = np.linalg.norm(trial_errors, axis=-1)
        is_better = trial_sizes < sizes[left]
        changes = trial_errors - errors[left]
        taken = left[is_better]
        points[taken], errors[taken] = trial[is_better], trial_errors[is_better]
        sizes[taken] = trial_sizes[is_better]
        steps[left] = np.where(is_better, _next_steps(moves, changes), steps[left] / 2)
    return points, sizes > tolerance


def _next_steps(moves: NDArray, changes: NDArray) -> NDArray[np.float64]:
    """
    Choose the length of the next steps by what the last ones changed.

    :param moves: of the points, (n, 3).
    :param changes: of their errors, (n, 3).
    :return: (n).
    """
    ratios = (moves * changes).sum(axis=-1) / np.maximum(
        (changes * changes).sum(axis=-1), np.finfo(np.float64).tiny
    )
    return np.clip(ratios, *_STEPS)
