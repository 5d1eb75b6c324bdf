"""A grid of voxels in space."""

from collections.abc import Iterator
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.geometry.affine import GeometryError, apply, check_affine, spacing_of

Shape = tuple[int, int, int]
_SLAB_VOXELS = 2_000_000  # bounds the memory of what is computed for every voxel


@dataclass(frozen=True, eq=False)
class Grid:
    """
    Where voxels lie: their number along each axis, and the affine to space.

    :param shape: (d1, d2, d3).
    :param affine: (4, 4), voxel indices to mm (RAS); voxel centres have whole indices.
    """

    shape: Shape
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        """:raises GeometryError: for a shape or an affine that cannot be."""
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(f"grid: expected three sides >= 1, got {self.shape}.")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", check_affine(self.affine, "grid"))

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Voxel sides, (3,)."""
        return spacing_of(self.affine)

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of the grid in space, (3,)."""
        return self.to_world((np.array(self.shape) - 1) / 2)

    @property
    def orientation(self) -> str:
        """Where the axes point, such as RAS: to right, to anterior, to superior."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    @property
    def is_planar(self) -> bool:
        """
        Whether the grid is one slice of the plane z = 0: all that ITK's 2-D has.

        Its readers leave out where else a file of two axes may say that it lies.
        """
        out_of_plane = [*self.affine[2, :2], *self.affine[:2, 2], self.affine[2, 3]]
        return self.shape[2] == 1 and not any(out_of_plane)

    def to_world(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """Map voxel coordinates (..., 3) to mm."""
        return apply(self.affine, voxels)

    def to_voxel(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points (..., 3) in mm to voxel coordinates."""
        return apply(np.linalg.inv(self.affine), points)

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Tell which points (..., 3) lie in a voxel, the outer halves included."""
        return is_inside(self.to_voxel(points), self.shape)

    def is_same(self, other: "Grid", tolerance_vox: float = 1e-4) -> bool:
        """
        Tell whether two grids have their voxels in the same places.

        :param other: the other grid.
        :param tolerance_vox: how far corners may lie apart, in voxels.
        """
        if self.shape != other.shape:
            return False
        apart = self.to_voxel(other.corners()) - self.to_voxel(self.corners())
        return bool(np.abs(apart).max() <= tolerance_vox)

    def corners(self) -> NDArray[np.float64]:
        """Return the centres of the corner voxels in space, (8, 3)."""
        ends = [(0, n - 1) for n in self.shape]
        return self.to_world(np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3))

    def overlap(self, other: "Grid", num: int = 24) -> float:
        """
        Say how much of this grid lies within another one.

        :param other: the other grid.
        :param num: points along each axis that are tried.
        :return: share of them in [0, 1].
        """
        axes = [np.linspace(0, n - 1, min(n, num)) for n in self.shape]
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return float(other.contains(self.to_world(voxels)).mean())

    def slabs(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """
        Go through the grid in portions that fit into memory.

        :return: a slice of axis 0 and the voxel coordinates in it, (n, d2, d3, 3).
        """
        rows = max(1, _SLAB_VOXELS // (self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], rows):
            part = slice(start, min(start + rows, self.shape[0]))
            axes = (np.arange(part.start, part.stop), *map(np.arange, self.shape[1:]))
            yield part, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def padded(self, margin: ArrayLike) -> "Grid":
        """
        Add voxels on all sides; negative numbers take some away.

        :param margin: (3,) voxels for both ends of each axis, or (3, 2).
        """
        ends = np.asarray(margin, dtype=int)
        ends = np.stack([ends, ends], axis=-1) if ends.ndim == 1 else ends
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(-ends[:, 0])
        shape = np.array(self.shape) + ends.sum(axis=1)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def resized(self, shape: Shape) -> "Grid":
        """
        Divide the same box, its outer faces included, into other voxels.

        :param shape: sides of the new grid.
        """
        scale = np.divide(self.shape, shape)
        to_old = np.diag([*scale, 1.0])
        to_old[:3, 3] = 0.5 * scale - 0.5  # centre of the new voxel 0
        return Grid(shape, self.affine @ to_old)


def is_inside(voxels: NDArray, shape: Shape) -> NDArray[np.bool_]:
    """
    Tell which voxel coordinates lie in a volume, its outer half voxels included as in
    ITK.

    :param voxels: (..., 3).
    :param shape: (d1, d2, d3).
    :return: (...).
    """
    upper = np.array(shape) - 0.5
    return np.all((voxels >= -0.5) & (voxels < upper), axis=-1)
