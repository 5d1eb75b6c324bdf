"""The volumes of a registered pair, on the fixed image's own grid."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate.columns import BASELINE
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import ResampleJob, resample, resample_several
from deepreg_meta.geometry.transform import Transform
from deepreg_meta.results.case import STAGES, WITHOUT_NETWORK, CaseResult


class Warped(NamedTuple):
    """The moving volumes on the fixed image's grid, at one stage."""

    image: NDArray  # (f1, f2, f3)
    covered: NDArray[np.bool_]  # (f1, f2, f3), the voxels that the moving image covers
    labels: NDArray | None = None  # (L, f1, f2, f3) in [0, 1]
    nearest_labels: NDArray | None = None  # the same, of the nearest voxel's value


class Scene:
    """
    The volumes of a registered pair as their files hold them, whatever grids and
    intensities the network saw.

    :param result: of the pair; its files are read here.
    """

    def __init__(self, result: CaseResult) -> None:
        """:raises DataError: when a file cannot be read any more."""
        case = result.case
        self.result = result
        fixed, moving = case.fixed_source, case.moving_source
        self.fixed_grid, self.moving_grid = fixed.grid, moving.grid
        self.fixed_spacing_mm = own_spacing(
            fixed.grid, case.fixed_grid, case.fixed_spacing_mm
        )
        self.moving_spacing_mm = own_spacing(
            moving.grid, case.moving_grid, case.moving_spacing_mm
        )
        self.fixed_image, self.fixed_labels = fixed.read()
        self.moving_image, self.moving_labels = moving.read()
        self._warped: dict[str, Warped] = {}
        self._transforms: dict[str, Transform] = {}
        self._ddf: dict[str, NDArray] = {}

    @property
    def is_planar(self) -> bool:
        """Whether both images are of two axes for other programs too."""
        sources = self.result.case.fixed_source, self.result.case.moving_source
        return all(own.layout != "volume" and own.grid.is_planar for own in sources)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that can be told apart, the baseline among them with labels."""
        return STAGES if self.fixed_labels is None else (*STAGES, BASELINE)

    def transform(self, stage: str) -> Transform:
        """
        Return the whole transform of a stage, see `CaseResult.transform`.

        :param stage: before, unadapted, adapted or the baseline.
        """
        if stage not in self._transforms:
            self._transforms[stage] = self.result.transform(stage)
        return self._transforms[stage]

    def warped(self, stage: str) -> Warped:
        """
        Return the moving volumes at a stage.

        :param stage: before, unadapted, adapted or the baseline.
        """
        if stage not in self._warped:
            jobs = [
                ResampleJob(self.moving_image),
                ResampleJob(np.ones(self.moving_grid.shape, np.uint8), "nearest"),
            ]
            if self.moving_labels is not None:
                labels = self.moving_labels
                jobs += [ResampleJob(labels), ResampleJob(labels, "nearest")]
            image, covered, *found = resample_several(
                jobs, self.moving_grid, self.fixed_grid, self.transform(stage)
            )
            self._warped[stage] = Warped(image, covered > 0, *found)
        return self._warped[stage]

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """
        True in the voxels nearest to the frames seen, and in the slice nearest to the
        middle of each, (f1, f2, f3).
        """
        grid, axis = self.result.case.fixed_grid, self.frame_axis
        shown = np.broadcast_to(self.result.seen, grid.shape)
        both = np.stack([shown, np.ones(grid.shape, bool)]).astype(np.uint8)
        nearest, covered = (
            resample(both, grid, self.fixed_grid, interpolation="nearest") > 0
        )
        # of thinner frames than the file's slices, none may be the nearest to a slice
        middles = np.tile((np.array(grid.shape) - 1) / 2, (len(self.result.frames), 1))
        middles[:, self.result.frame_axis] = self.result.frames
        own = np.rint(self.fixed_grid.to_voxel(grid.to_world(middles))[:, axis])
        own = own[(own >= 0) & (own < nearest.shape[axis])].astype(int)
        np.moveaxis(nearest, axis, 0)[own] |= np.moveaxis(covered, axis, 0)[own]
        return nearest

    @property
    def frame_axis(self) -> int:
        """The axis of the fixed image that runs across the frames."""
        to_own = (
            np.linalg.inv(self.fixed_grid.affine) @ self.result.case.fixed_grid.affine
        )
        return int(np.abs(to_own[:3, self.result.frame_axis]).argmax())

    @property
    def frames(self) -> NDArray:
        """Indices of the fixed image's slices that show the frames seen."""
        others = tuple(axis for axis in range(3) if axis != self.frame_axis)
        return np.flatnonzero(self.seen.any(axis=others))

    def point_error(self, stage: str, fixed: NDArray, moving: NDArray) -> float:
        """
        Measure the target registration error of a landmark.

        :param stage: before, unadapted, adapted or the baseline.
        :param fixed: where the fixed image shows it, (3,), mm.
        :param moving: where the moving image shows it, (3,), mm.
        :return: distance between the mapped fixed and the moving point, in units of the
            moving image's voxel sides, which the configuration may have overridden.
        """
        ends = np.stack([self.transform(stage).map_points(fixed), moving])
        apart = np.diff(self.moving_grid.to_voxel(ends), axis=0)[0]
        return float(np.linalg.norm(apart * self.moving_spacing_mm))

    def ddf(self, stage: str) -> NDArray:
        """
        Return the network's field at a stage on the fixed image's grid.

        :param stage: before, unadapted, adapted or the baseline.
        :return: (f1, f2, f3, 3), in voxels of that grid, float32.
        """
        if stage in WITHOUT_NETWORK:
            return np.zeros((*self.fixed_grid.shape, 3), np.float32)
        if stage not in self._ddf:
            part = Transform(self.transform(stage).parts[:1])
            turn = np.linalg.inv(self.fixed_grid.affine[:3, :3])
            vectors = part.as_field(self.fixed_grid).vectors @ turn.T
            self._ddf[stage] = vectors.astype(np.float32)
        return self._ddf[stage]


def own_spacing(own: Grid, network: Grid, spacing_mm: NDArray) -> NDArray:
    """
    Return the voxel sides of a file's grid, those of the network's grid being given.

    They are not those of the affine where the configuration has overridden them.

    :param own: the grid of the file.
    :param network: the same box, turned, resampled or stretched.
    :param spacing_mm: (3,), of the network's grid.
    :return: (3,).
    """
    steps = np.abs(np.linalg.solve(own.affine[:3, :3], network.affine[:3, :3]))
    axes = steps.argmax(axis=0)  # the own axis along each of the network's
    sides = np.empty(3)
    sides[axes] = spacing_mm / steps[axes, np.arange(3)]
    return sides
