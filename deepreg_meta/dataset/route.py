"""
The way of a volume from its file's grid to the network's: axes turned, voxels of
another size, and the shape; with the map between the voxels of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.dataset.resize import resample_linear, resize_linear, smooth
from deepreg_meta.dataset.target import Target
from deepreg_meta.geometry.affine import from_parts, spacing_of
from deepreg_meta.geometry.grid import Grid, Shape

_SAME = 1e-5  # relative difference of lengths: headers hold 32-bit numbers


@dataclass(frozen=True, eq=False)
class Route:
    """
    The steps for all volumes on one file's grid.

    :param turns: nibabel's orientation array, (3, 2): where each axis goes, and 1 or
        -1 for its direction; None leaves the axes.
    :param ratio: voxel sides wanted over those of the file, after the turns.
    :param sampled: shape with voxels of that size.
    :param shape: of the network's grid.
    :param is_padded: whether voxels are added and taken away; else it is stretched.
    :param to_file: (4, 4), voxel indices of the network's grid to those of the file.
    """

    turns: NDArray | None
    ratio: tuple[float, float, float]
    sampled: Shape
    shape: Shape
    is_padded: bool
    to_file: NDArray[np.float64]

    @property
    def inside(self) -> NDArray[np.int64]:
        """The voxels that were not added: first and one past the last, (3, 2)."""
        if not self.is_padded:
            return np.stack([np.zeros(3, int), np.array(self.shape)], axis=-1)
        margins = np.maximum(-_ends(self.sampled, self.shape), 0)
        return np.stack([margins[:, 0], np.array(self.shape) - margins[:, 1]], axis=-1)

    def carry(
        self, volumes: NDArray, *, is_image: bool = False, outside: float = 0.0
    ) -> NDArray:
        """
        Bring volumes to the network's grid.

        :param volumes: (n, d1, d2, d3), float, on the file's grid.
        :param is_image: smooth what larger voxels could not show; labels stay as they
            are.
        :param outside: the value of voxels that are added.
        :return: (n, *shape), the dtype of `volumes`.
        """
        if self.turns is not None:
            volumes = _turn(volumes, self.turns)
        if is_image:
            volumes = smooth(volumes, self.ratio)
        volumes = resample_linear(volumes, self.ratio, self.sampled)
        if not self.is_padded:
            return resize_linear(volumes, self.shape)
        return _crop_or_pad(volumes, self.shape, outside)


def plan_route(shape: Shape, affine: NDArray, target: Target) -> Route:
    """
    Plan the steps for one file's grid.

    :param shape: of the file.
    :param affine: (4, 4), voxel indices of the file to its world.
    :param target: what volumes are brought to.
    :return: the steps, and where they lead.
    """
    sides = spacing_of(affine) if target.spacing_mm is None else target.spacing_mm
    turns, to_file = _turns(affine, target.orientation), np.eye(4)
    if turns is not None:
        to_file = nib.orientations.inv_ornt_aff(turns, shape)
        shape = _turned(shape, turns)
    sides = spacing_of(np.diag([*sides, 1.0]) @ to_file)
    ratio = _ratio(sides, target.voxel_mm, shape)
    sampled = _sampled(shape, ratio)
    # grids in the space of the file's voxel indices
    grid = Grid(sampled, to_file @ _about_centre(shape, sampled, ratio))
    is_padded = target.fit == "pad"
    if is_padded:
        grid = grid.padded(-_ends(sampled, target.shape))
    else:
        grid = grid.resized(target.shape)
    return Route(turns, ratio, sampled, target.shape, is_padded, grid.affine)


def check_route(
    path: str, grid: Grid, has_orientation: bool, target: Target
) -> list[str]:
    """
    Check that a volume can be brought to the network's grid.

    :param path: of the file, for messages.
    :param grid: of the file.
    :param has_orientation: whether the file states where its axes point.
    :param target: what volumes are brought to.
    :return: one line per problem.
    """
    if target.orientation is not None and not has_orientation:
        return [
            f"{path}: expected an affine, by which the axes can be turned to "
            f"{target.orientation}, got a file that states none. Set it, or use "
            "`dataset.grid.orientation: null`."
        ]
    is_flat = 1 in target.shape
    if target.orientation is None and target.fit == "resize" and not is_flat:
        return []  # a single slice is stretched, as DeepReg does
    shape = turned_shape(grid, target.orientation)
    thin = [i for i in range(3) if shape[i] == 1 and target.shape[i] > 1]
    return [
        f"{path}: expected more than one voxel along axis {axis} of the network's "
        f"shape {list(target.shape)}, got a volume of shape {list(shape)} there. A "
        "2-D image needs a shape with a side of 1 where it has one."
        for axis in thin
    ]


def turned_shape(grid: Grid, orientation: str | None) -> Shape:
    """
    Return the shape of a volume after its axes are turned.

    :param grid: of its file.
    :param orientation: where the axes are to point, such as RAS; None leaves them.
    """
    turns = _turns(grid.affine, orientation)
    return grid.shape if turns is None else _turned(grid.shape, turns)


def _turns(affine: NDArray, orientation: str | None) -> NDArray | None:
    """Return nibabel's orientation array; None where no axis has to be turned."""
    if orientation is None:
        return None
    start = nib.orientations.io_orientation(affine)
    end = nib.orientations.axcodes2ornt(orientation)
    turns = nib.orientations.ornt_transform(start, end)
    return None if np.array_equal(turns, [[0, 1], [1, 1], [2, 1]]) else turns


def _turned(shape: Shape, turns: NDArray) -> Shape:
    first, second, third = np.argsort(turns[:, 0])
    return shape[first], shape[second], shape[third]


def _turn(volumes: NDArray, turns: NDArray) -> NDArray:
    """Permute and flip the last three axes; no voxel changes its value."""
    last = np.moveaxis(volumes, 0, -1)  # nibabel turns the first axes
    return np.moveaxis(nib.orientations.apply_orientation(last, turns), -1, 0)


def _ratio(
    sides: NDArray, wanted: Sequence[float] | None, shape: Shape
) -> tuple[float, float, float]:
    """Return how much voxels grow; not along a singleton axis, which has no steps."""
    if wanted is None:
        return (1.0, 1.0, 1.0)
    ratio = np.divide(wanted, sides)
    ratio[np.isclose(ratio, 1, rtol=_SAME, atol=0) | (np.array(shape) == 1)] = 1.0
    return (float(ratio[0]), float(ratio[1]), float(ratio[2]))


def _sampled(shape: Shape, ratio: Sequence[float]) -> Shape:
    """Return how many voxels of another size cover the same box, to half of one."""
    sides = np.maximum(np.rint(np.divide(shape, ratio)), 1)
    return (int(sides[0]), int(sides[1]), int(sides[2]))


def _about_centre(old: Shape, new: Shape, ratio: Sequence[float]) -> NDArray:
    """Map new voxel indices to old ones, the centre of the grid staying in place."""
    factor = np.asarray(ratio)
    offset = (np.array(old) - 1) / 2 - factor * (np.array(new) - 1) / 2
    return from_parts(np.diag(factor), offset)


def _ends(old: Shape, new: Shape) -> NDArray:
    """
    Return how many voxels go at both ends of each axis, (3, 2); negative: come.

    The odd one goes, or comes, at the far end.
    """
    extra = np.array(old) - np.array(new)
    near = np.sign(extra) * (np.abs(extra) // 2)
    return np.stack([near, extra - near], axis=-1)


def _crop_or_pad(volumes: NDArray, shape: Shape, outside: float) -> NDArray:
    """Add or take away whole voxels around the centre."""
    old = volumes.shape[1:]
    ends = _ends((old[0], old[1], old[2]), shape)
    inner = (slice(None),) + tuple(
        slice(max(low, 0), n - max(high, 0))
        for (low, high), n in zip(ends, old, strict=True)
    )
    margins = np.maximum(-ends, 0).tolist()
    return np.pad(volumes[inner], [(0, 0), *margins], constant_values=outside)
