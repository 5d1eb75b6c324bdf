"""What the network of a run sees of a target and an atlas before it moves anything."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deepreg_meta.atlas.similarity import Measure, similarity
from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.dataset.pair import read_pair
from deepreg_meta.dataset.target import build_targets
from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Transform
from deepreg_meta.model.alignment import Grids, align_grids
from deepreg_meta.pair_setup import pair_config, reading_config, shown_case


class NetworkView:
    """
    Bring a target and its atlases to the network's grids, each atlas read once.

    :param config: of the run.
    :param initial: how images lie before the network, as for `Registrar.register`.
    :param expected: what the run's training images looked like, see `read_pair`.
    """

    def __init__(
        self, config: RunConfig, initial: str, expected: Mapping[str, Any] | None = None
    ) -> None:
        """:raises ValueError: where images without labels cannot be aligned so."""
        self._config = pair_config(config, initial, labeled=False)
        # whether both images overlap is checked where they are registered
        self._reading = reading_config(self._config, "center")
        self._initial, self._expected = initial, expected
        self._intensity = {
            role: target.intensity for role, target in build_targets(config).items()
        }
        self._atlases: dict[Path, dict[str, Any]] = {}
        self._room = config.dataset.cache_gb * 1e9
        self._targets: dict[tuple, Case] = {}  # the last one alone

    def case(self, target: Path, atlas: Path) -> Case:
        """
        Return a pair on the network's grids.

        :param target: the fixed image.
        :param atlas: the moving image.
        :raises ValueError: for files that cannot be used.
        """
        key = _file_now(target) if target.is_file() else (target,)
        if key in self._targets and atlas in self._atlases:
            return replace(self._targets[key], **self._atlases[atlas])
        name = f"{target.name}, {atlas.name}"
        case = read_pair(
            self._reading, PairFiles(target), PairFiles(atlas), name, self._expected
        )
        self._targets = {key: case}
        self._keep(atlas, case)
        return case

    def _keep(self, atlas: Path, case: Case) -> None:
        """Remember an atlas, unless it looks another way beside each target."""
        if self._intensity["moving"].needs_pair or atlas in self._atlases:
            return
        if case.moving_image.nbytes <= self._room:
            self._room -= case.moving_image.nbytes
            names = ("image", "affine", "spacing_mm", "source")
            self._atlases[atlas] = {
                f"moving_{name}": getattr(case, f"moving_{name}") for name in names
            }

    def start(self, case: Case) -> Transform:
        """
        Return the initial alignment of a pair, fixed to moving space in mm.

        :param case: from `case`.
        :raises ValueError: where the images do not overlap so.
        """
        sides = PairFiles(case.fixed_source.path), PairFiles(case.moving_source.path)
        shown = shown_case(case, self._initial, sides)
        moving, fixed = shown.moving_grid, shown.fixed_grid
        grids = Grids(
            moving.shape,
            fixed.shape,
            tf.constant(moving.affine, tf.float32),
            tf.constant(fixed.affine, tf.float32),
            tf.constant(shown.moving_spacing_mm, tf.float32),
            tf.constant(shown.fixed_spacing_mm, tf.float32),
        )
        matrix, offset = align_grids(self._config.align.mode, grids)
        to_moving = from_parts(matrix.numpy(), offset.numpy())
        whole = case.moving_affine @ to_moving @ np.linalg.inv(case.fixed_affine)
        return Transform((Affine(whole),))

    def similarity(self, case: Case, transform: Transform, measure: Measure) -> float:
        """
        Compare both images on the network's grid of the target.

        :param case: from `case`.
        :param transform: fixed to moving space.
        :param measure: see `similarity`.
        :return: larger for more alike images.
        """
        return similarity(measure, case.fixed_image, _moved(case, transform))

    def target(self, case: Case) -> NDArray:
        """
        Read the target as its file holds it, after the run's intensity steps.

        :param case: from `case`.
        :return: (d1, d2, d3), on the file's own grid.
        """
        own = self._intensity["fixed"]
        return own.scale(own.transform(case.fixed_source.read()[0]))

    def warped(self, case: Case, transform: Transform) -> NDArray:
        """
        Warp an atlas to the target's own grid, after the run's intensity steps.

        :param case: from `case`.
        :param transform: fixed to moving space.
        :return: (d1, d2, d3); the atlas' lowest value lies around it.
        """
        own, fixed = self._intensity["moving"], None
        if own.needs_pair:
            steps = self._intensity["fixed"]
            fixed = steps.transform(case.fixed_source.read()[0])
        image = own.scale(own.transform(case.moving_source.read()[0], fixed))
        grids = case.moving_source.grid, case.fixed_source.grid
        return resample(image, *grids, transform, outside=float(image.min()))


def _file_now(path: Path) -> tuple:
    """Name a file as it is now: a scanner may write the next image to the same name."""
    state = path.stat()
    return path, state.st_mtime_ns, state.st_size


def _moved(case: Case, transform: Transform) -> NDArray:
    """Return the moving image on the fixed grid; its lowest value lies around it."""
    fixed, moving, image = case.fixed_grid, case.moving_grid, case.moving_image
    matrix = transform.matrix
    if matrix is not None and Grid(fixed.shape, matrix @ fixed.affine).is_same(moving):
        return image  # voxel on voxel, nothing to interpolate
    return resample(image, moving, fixed, transform, outside=float(image.min()))
