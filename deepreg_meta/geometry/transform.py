"""
Transforms of space: affine maps and displacement fields, one after the other.

A transform takes points of the fixed image's space to the moving image's, as ITK's do:
the warped image at p is the moving image at T(p).
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from deepreg_meta.geometry.affine import GeometryError, apply, check_affine
from deepreg_meta.geometry.grid import Grid, is_inside


@dataclass(frozen=True, eq=False)
class Affine:
    """
    p -> matrix p.

    :param matrix: (4, 4), mm to mm (RAS).
    """

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        """:raises GeometryError: for a matrix that has no inverse."""
        object.__setattr__(self, "matrix", check_affine(self.matrix, "affine"))

    def map_points(self, points: NDArray) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        return apply(self.matrix, points)

    def map_grid(self, grid: Grid, part: slice, voxels: NDArray) -> NDArray:
        """Map the voxels of a slab of a grid, see `Grid.slabs`."""
        return apply(self.matrix @ grid.affine, voxels)


@dataclass(frozen=True, eq=False)
class Field:
    """
    p -> p + d(p), d interpolated linearly between the voxels of a grid.

    :param grid: of the field.
    :param vectors: d, (d1, d2, d3, 3), mm, axes R, A, S.
    :param outside: of the grid, its outer half voxels included: `zero`, no displacement
        as in ITK, or `border`, that of the nearest voxel.
    """

    grid: Grid
    vectors: NDArray
    outside: Literal["zero", "border"] = "zero"

    def __post_init__(self) -> None:
        """:raises GeometryError: when the vectors are not on the grid."""
        if self.vectors.shape != (*self.grid.shape, 3):
            raise GeometryError(
                f"field: expected vectors of shape {(*self.grid.shape, 3)}, got "
                f"{self.vectors.shape}."
            )

    def check_finite(self, name: str) -> None:
        """
        Check that there is a displacement at every voxel.

        :param name: of the file or the argument, for messages.
        :raises GeometryError: for NaN or infinite vectors.
        """
        num_bad = int((~np.isfinite(self.vectors).all(axis=-1)).sum())
        if num_bad:
            raise GeometryError(
                f"{name}: expected a finite displacement at every voxel, got {num_bad} "
                "that are NaN or infinite."
            )

    def map_points(self, points: NDArray) -> NDArray[np.float64]:
        """Map points (..., 3)."""
        voxels = self.grid.to_voxel(points)
        moved = points + self._interpolate(voxels)
        if self.outside == "border":
            return moved
        inside = is_inside(voxels, self.grid.shape)
        return np.where(inside[..., None], moved, points)

    def map_grid(self, grid: Grid, part: slice, voxels: NDArray) -> NDArray:
        """Map the voxels of a slab of a grid, see `Grid.slabs`."""
        points = grid.to_world(voxels)
        if grid.is_same(self.grid):
            return points + self.vectors[part]
        return self.map_points(points)

    def _interpolate(self, voxels: NDArray) -> NDArray[np.float64]:
        places = voxels.reshape(-1, 3).T  # SciPy refuses a single point (3,)
        components = [
            map_coordinates(
                self.vectors[..., i], places, np.float64, order=1, mode="nearest"
            )
            for i in range(3)
        ]
        return np.stack(components, axis=-1).reshape(voxels.shape)


Part = Affine | Field


@dataclass(frozen=True, eq=False)
class Transform:
    """
    Several maps, the first one applied first; without any it is the identity.

    Example::

        transform = Transform((Field(grid, vectors), Affine(matrix)))
        moving_points = transform.map_points(fixed_points)

    :param parts: affine maps and fields.
    """

    parts: tuple[Part, ...] = field(default=())

    def map_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """
        Map points.

        :param points: (..., 3), mm, RAS.
        :return: (..., 3).
        :raises ValueError: for points without three coordinates.
        """
        mapped = np.asarray(points, dtype=np.float64)
        if mapped.shape[-1:] != (3,):
            raise ValueError(
                f"map_points: expected points (..., 3), got {mapped.shape}."
            )
        for part in self.parts:
            mapped = part.map_points(mapped)
        return mapped

    def map_slab(self, grid: Grid, part: slice, voxels: NDArray) -> NDArray[np.float64]:
        """
        Map the voxels of a slab of a grid.

        :param grid: the grid.
        :param part: slice of its axis 0.
        :param voxels: as `Grid.slabs` gives them, (n, d2, d3, 3).
        :return: points in mm, (n, d2, d3, 3).
        """
        if not self.parts:
            return grid.to_world(voxels)
        mapped = self.parts[0].map_grid(grid, part, voxels)
        return Transform(self.parts[1:]).map_points(mapped)

    def then(self, other: "Transform") -> "Transform":
        """
        Compose: this transform first, the other one afterwards.

        :param other: maps what this one puts out.
        """
        return Transform(self.parts + other.parts)

    @property
    def nbytes(self) -> int:
        """Memory of the fields."""
        fields = (part for part in self.parts if isinstance(part, Field))
        return sum(part.vectors.nbytes for part in fields)

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """The whole as one matrix (4, 4), or None where a field takes part."""
        matrix = np.eye(4)
        for part in self.parts:
            if isinstance(part, Field):
                return None
            matrix = part.matrix @ matrix
        return matrix

    def as_field(self, grid: Grid) -> Field:
        """
        Express the whole as one displacement field.

        :param grid: its voxels; between them the field is linear.
        :return: the field, float32.
        """
        vectors = np.empty((*grid.shape, 3), np.float32)
        for part, voxels in grid.slabs():
            moved = self.map_slab(grid, part, voxels)
            vectors[part] = moved - grid.to_world(voxels)
        return Field(grid, vectors)
