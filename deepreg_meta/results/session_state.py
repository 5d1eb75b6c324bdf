"""What an interactive session knows of its pair after some updates."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepreg_meta.evaluate import metric
from deepreg_meta.geometry.transform import Transform
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.files import Outputs, write_files
from deepreg_meta.results.folder import OF_CASE, check_replaceable, whole_folder
from deepreg_meta.results.scene import Scene

SUMMARY = "session.csv"  # the file that tells what a session saved from other folders


@dataclass
class SessionState:
    """
    What a session knows after some updates.

    :param result: what the model put out; there is no unadapted field in it.
    :param positions: of the frames seen, indices of slices.
    :param channels: label channels that the frames show.
    """

    result: CaseResult = field(repr=False)
    positions: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def losses(self) -> tuple[float, float]:
        """Total on the frames seen, before and after the last updates."""
        before, after = self.result.outputs["losses"]
        return float(before), float(after)

    @property
    def updates(self) -> int:
        """Updates taken last."""
        return self.result.steps

    @property
    def seconds(self) -> float:
        """Seconds that they took with the prediction."""
        return self.result.seconds

    @cached_property
    def _scene(self) -> Scene:
        return Scene(self.result)

    @cached_property
    def transform(self) -> Transform:
        """Fixed to moving space, mm, RAS; beyond the images it goes on smoothly."""
        return self.result.transform("adapted")

    @property
    def warped_image(self) -> NDArray:
        """The moving image on the session's grid, its own intensities."""
        return self._scene.warped("adapted").image

    @property
    def warped_labels(self) -> NDArray | None:
        """The moving labels on the session's grid, (L, f1, f2, f3) in [0, 1]."""
        return self._scene.warped("adapted").labels

    @property
    def frame_dsc(self) -> dict[str, float]:
        """Dice of the labels that frames show, on these frames, by name."""
        fixed, warped = self._scene.fixed_labels, self.warped_labels
        if fixed is None or warped is None:
            return {}
        seen = np.zeros(fixed.shape[1:], bool)
        np.moveaxis(seen, self._scene.frame_axis, 0)[list(self.positions)] = True
        names = self.result.case.label_names
        return {
            names[i]: metric.dsc_masked(fixed[i], warped[i], seen)
            for i in self.channels
        }

    def save(self, folder: str | Path, outputs: Outputs | None = None) -> None:
        """
        Write transform, warped volumes, figure, and a line of figures, `session.csv`.

        :param folder: of the results; earlier results in it are replaced.
        :param outputs: which files; None is the default.
        :raises ValueError: when the folder holds something else.
        """
        folder = Path(folder).expanduser()
        check_replaceable(folder, "folder", SUMMARY, (SUMMARY, *OF_CASE))
        row = {
            "frames": " ".join(map(str, self.positions)),
            "updates": self.updates,
            "loss_before": self.losses[0],
            "loss_after": self.losses[1],
            **{f"dsc_frames_{name}": value for name, value in self.frame_dsc.items()},
            "seconds": self.seconds,
        }
        with whole_folder(folder) as working:
            write_files(working, self._scene, outputs or Outputs(), working)
            pd.DataFrame([row]).to_csv(working / SUMMARY, index=False)
