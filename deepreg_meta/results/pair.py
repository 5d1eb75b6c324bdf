"""What the registration of two files gives."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.checkpoint_path import name_checkpoint
from deepreg_meta.config import RunConfig
from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.inverse import invert
from deepreg_meta.geometry.landmarks import Landmarks, save_landmarks
from deepreg_meta.geometry.transform import Transform
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.files import Outputs, write_files
from deepreg_meta.results.folder import check_replaceable, whole_folder
from deepreg_meta.results.limits import Limits
from deepreg_meta.results.scene import Scene
from deepreg_meta.results.score import score
from deepreg_meta.results.summary import write_summary

logger = logging.getLogger(__name__)


@dataclass
class RegisteredPair:
    """
    A registered pair of files, scored, with what can be had of it.

    :param result: what the model put out.
    :param history_names: columns of the history of its adaptation.
    :param config: of the run, as it was used: with the updates that were asked for.
    :param checkpoint: its path; "" without a network.
    :param fixed_landmarks: read from a file, or None.
    :param moving_landmarks: the same for the moving image.
    :param limits: beyond which the transform is reported as suspect.
    :param remarks: on how it was registered, beside the configuration.
    """

    result: CaseResult
    history_names: list[str]
    config: RunConfig
    checkpoint: str
    fixed_landmarks: Landmarks | None
    moving_landmarks: Landmarks | None
    limits: Limits
    remarks: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Score the pair."""
        self._scene = Scene(self.result)
        score(self._scene)
        grid = self._scene.fixed_grid
        # of a single slice, the thickness is no side of the image
        size_mm = np.array(grid.shape) * self._scene.fixed_spacing_mm
        size_mm = np.where(np.array(grid.shape) > 1, size_mm, 0.0)
        row, unit = self.result.case_row, self.result.unit
        self.warnings = self.limits.warnings(row, size_mm, unit)
        row["warning"] = "; ".join(self.warnings)

    @property
    def transform(self) -> Transform:
        """Fixed to moving space, mm, RAS; beyond the images it goes on smoothly."""
        return self._scene.transform("adapted")

    @property
    def warped_image(self) -> NDArray:
        """The moving image on the fixed image's grid, its own intensities."""
        return self._scene.warped("adapted").image

    @property
    def scores(self) -> dict:
        """The figures of the pair by column, see `columns.md` of a saved result."""
        return dict(self.result.case_row)

    def save(self, folder: str | Path, outputs: Outputs | None = None) -> str:
        """
        Write transform, warped volumes, landmarks, tables and figure.

        :param folder: of the results; earlier results in it are replaced.
        :param outputs: which files; None is the default.
        :return: the scores as a table for a terminal.
        :raises ValueError: when the folder holds something else.
        """
        folder, outputs = Path(folder).expanduser(), outputs or Outputs()
        check_replaceable(folder, "--output")
        with whole_folder(folder) as working:
            write_files(working, self._scene, outputs, working)
            try:
                self._save_landmarks(working)
            except GeometryError as err:  # a network that diverged
                logger.warning("No landmarks are written: %s", err)
            name = self.result.case.name
            text = write_summary(working, [self.result], self.history_names, name)
            header = "\n".join([name_checkpoint(self.checkpoint), *self.remarks])
            self.config.dump(working / "config.yaml", header=header)
        return text

    def _save_landmarks(self, folder: Path) -> None:
        """Write each image's landmarks where the other image shows them."""
        if self.fixed_landmarks is not None:
            mapped = self.transform.map_points(self.fixed_landmarks.points)
            path = folder / "fixed_landmarks_on_moving.mrk.json"
            save_landmarks(path, Landmarks(self.fixed_landmarks.names, mapped))
        if self.moving_landmarks is not None:
            inverse, _ = invert(self.transform, self._scene.fixed_grid)
            mapped = inverse.map_points(self.moving_landmarks.points)
            self._warn_of_missed(mapped)
            path = folder / "moving_landmarks_on_fixed.mrk.json"
            save_landmarks(path, Landmarks(self.moving_landmarks.names, mapped))

    def _warn_of_missed(self, mapped: NDArray) -> None:
        """
        Say which moving landmarks have no place in the fixed image.

        :param mapped: where the inverse led them, (N, 3), mm.
        """
        if self.moving_landmarks is None:
            return
        returned = self.transform.map_points(mapped)
        missed = np.linalg.norm(returned - self.moving_landmarks.points, axis=-1)
        grid = self._scene.moving_grid
        # as above: of a single slice, the thickness is no side of a voxel
        sides_mm = grid.spacing_mm[np.array(grid.shape) > 1]
        is_wrong = ~(missed <= sides_mm.max(initial=0.0))
        if is_wrong.any():
            names = [self.moving_landmarks.names[i] for i in np.flatnonzero(is_wrong)]
            logger.warning(
                "moving_landmarks_on_fixed.mrk.json: where the field folds, or beyond "
                "the images, the inverse misses by more than a voxel, up to %.1f mm: "
                "%s",
                missed.max(),
                ", ".join(names),
            )
