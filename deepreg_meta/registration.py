"""
Register single pairs of files with a trained network.

    registrar = Registrar("logs/first")
    pair = registrar.register("fixed.nii.gz", "moving.nii.gz", adapt_steps=5)
    pair.save("result")  # transform.h5, warped image, scores, figure
    moving_points = pair.transform.map_points(fixed_points)  # mm, RAS
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import deepreg_meta

# Before anything below touches Keras: a caller has no other place to do it.
deepreg_meta.register()
# ruff: noqa: E402

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.checkpoint_path import newest_checkpoint
from deepreg_meta.config import RunConfig, load_config
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.pair import PairFiles, read_pair
from deepreg_meta.geometry.landmarks import Landmarks, read_landmarks
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model_file import load_model
from deepreg_meta.pair_setup import (
    check_can_adapt,
    check_masks_meet,
    pair_config,
    reading_config,
    shown_case,
    warn_of_landmarks,
    warn_of_places,
)
from deepreg_meta.prediction import network_inputs, register_case
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.limits import Limits
from deepreg_meta.results.pair import RegisteredPair
from deepreg_meta.training import DATA_FILE

logger = logging.getLogger(__name__)


class Registrar:
    """
    Register pair after pair with one network, which is read and compiled once.

    :param ckpt_path: checkpoint, or folder of a run.
    :param config_path: YAML files instead of the one saved with the run.
    """

    def __init__(self, ckpt_path: str, config_path: Sequence[str] = ()) -> None:
        """
        :raises FileNotFoundError: for a missing checkpoint.
        :raises ValueError: for a configuration that is missing or wrong.
        """
        self.checkpoint = newest_checkpoint(ckpt_path)
        self._run = Path(self.checkpoint).parent.parent
        saved = [str(self._run / "config.yaml")]
        self.config = load_config(list(config_path) or saved)
        self._models: dict[tuple, ReptileModel] = {}
        self._compiled: dict[int, set[tuple]] = {}  # shapes, by model

    def register(
        self,
        fixed: str | Path | PairFiles,
        moving: str | Path | PairFiles,
        *,
        adapt_steps: int | None = None,
        adapt_seconds: float | None = None,
        keep: Literal["best", "last"] = "best",
        initial: str = "config",
        limits: Limits | None = None,
        carry: bool = False,
    ) -> RegisteredPair:
        """
        Adapt to a pair of files and register it.

        Images of any spacing and orientation are brought to the network's grid; what
        comes out is on the files' own grids. Labels, where the run's `adapt.labels`
        names them, take part in adaptation; other labels and landmarks are for scoring.

        :param fixed: image file, or the files of the fixed side.
        :param moving: image file, or the files of the moving side.
        :param adapt_steps: updates; None follows the run's `adapt.steps`.
        :param adapt_seconds: take as many updates as fit into this time instead.
        :param keep: best, the weights with the least loss, or last.
        :param initial: how the images lie before the network: config, the run's
            `align`; center; header, as their world coordinates say; mass, centres of
            mass; or a file with an affine transform, fixed to moving.
        :param limits: beyond which the transform is reported; None is the default.
        :param carry: start from the adapted weights of the last pair that carried them,
            as neighbouring frames of a sequence do; `forget_pair` begins anew.
        :return: transform, scores and warped volumes, nothing written yet.
        :raises ValueError: for files or options that cannot be used.
        :raises FileNotFoundError: for a missing file.
        """
        sides = [
            side if isinstance(side, PairFiles) else PairFiles(str(side))
            for side in (fixed, moving)
        ]
        tuner = FineTune.of(self.config.adapt, adapt_steps, adapt_seconds, keep, carry)
        config = pair_config(self.config, initial, bool(sides[0].labels))
        check_can_adapt(config, tuner)
        landmarks = [_landmarks(side) for side in sides]
        warn_of_landmarks(landmarks)
        names = [Path(side.image).name.split(".")[0] for side in sides]
        name = f"{names[1]}_to_{names[0]}"
        reading = reading_config(config, initial)
        case = read_pair(reading, sides[0], sides[1], name, _description(self._run))
        warn_of_places(case)
        shown = shown_case(case, initial, sides)
        result = self._run_network(config, case, shown, tuner)
        check_masks_meet(case, result)
        if landmarks[0] is not None and landmarks[1] is not None:
            result.landmarks = landmarks[0], landmarks[1]
        pair = RegisteredPair(
            result=result,
            history_names=self._model(config).history_names,
            config=config,
            checkpoint=self.checkpoint,
            fixed_landmarks=landmarks[0],
            moving_landmarks=landmarks[1],
            limits=limits or Limits(),
        )
        for warning in pair.warnings:
            logger.warning("Suspect transform: %s.", warning)
        return pair

    def forget_pair(self) -> None:
        """Let the next pair that carries weights on start from the trained ones."""
        for model in self._models.values():
            model.forget_pair()

    def _run_network(
        self, config: RunConfig, case: Case, shown: Case, tuner: FineTune
    ) -> CaseResult:
        """Adapt and predict; compile before, so that the time is that of the work."""
        model = self._model(config)
        num_labels = 0 if case.moving_labels is None else len(case.moving_labels)
        inputs = network_inputs(shown, num_labels)
        shapes = tuple((name, value.shape) for name, value in inputs.items())
        compiled = self._compiled.setdefault(id(model), set())
        if model.adapt_plan.kind != tuner.plan.kind:
            compiled.clear()  # another kind of plan is another graph
        # before `protect`, which puts the plan back: the graph stays for the next pair
        model.adapt_plan = tuner.plan
        with tuner.protect(model):
            if shapes not in compiled:
                logger.info("Compiled in %.0f s.", tuner.warm_up(model, inputs))
                compiled.add(shapes)
            return register_case(model, case, tuner, num_labels, shown)

    def _model(self, config: RunConfig) -> ReptileModel:
        """Return the model for a way of aligning, with or without labels."""
        key = config.align.mode, config.dataset.labeled
        if key not in self._models:
            self._models[key] = load_model(config, self.checkpoint)
        return self._models[key]


def _description(run: Path) -> dict | None:
    """Return what training wrote about its data; runs of older versions have none."""
    path = run / DATA_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def _landmarks(side: PairFiles) -> Landmarks | None:
    if side.landmarks is None:
        return None
    grid = read_volume(Path(side.image)).grid
    return read_landmarks(Path(side.landmarks), grid)
