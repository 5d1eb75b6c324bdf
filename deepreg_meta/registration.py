"""
Register single pairs of files with a trained network.

    registrar = Registrar("logs/first")
    pair = registrar.register("fixed.nii.gz", "moving.nii.gz", adapt_steps=5)
    pair.save("result")  # transform.h5, warped image, scores, figure
    moving_points = pair.transform.map_points(fixed_points)  # mm, RAS
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import deepreg_meta

# Before anything below touches Keras: a caller has no other place to do it.
deepreg_meta.register()
# ruff: noqa: E402

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.checkpoint_path import newest_checkpoint, run_of, training_data
from deepreg_meta.config import RunConfig, load_run_config
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.pair import PairFiles, read_pair
from deepreg_meta.dataset.pipeline import single_dataset
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.landmarks import Landmarks, read_landmarks
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.model.open_adaptation import OpenAdaptation
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model_file import load_model
from deepreg_meta.pair_setup import (
    check_can_adapt,
    check_masks_meet,
    check_session,
    pair_config,
    reading_config,
    shown_case,
    warn_of_landmarks,
    warn_of_places,
)
from deepreg_meta.prediction import (
    case_result,
    network_inputs,
    register_case,
    register_cases_together,
)
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.limits import Limits
from deepreg_meta.results.pair import RegisteredPair
from deepreg_meta.session import Session

logger = logging.getLogger(__name__)


class _Ready(NamedTuple):
    """A pair that has been read and checked."""

    config: RunConfig
    case: Case
    shown: Case  # as the network sees it
    fixed_landmarks: Landmarks | None
    moving_landmarks: Landmarks | None


class Registrar:
    """
    Register pair after pair with one network, which is read and compiled once.

    Several threads may use it: they wait for each other while the network adapts.

    :param ckpt_path: checkpoint, or folder of a run; None where no network takes part
        (`config` from `deepreg_meta.classical.classical_config`).
    :param config_path: YAML files instead of the one saved with the run.
    :param config: the configuration itself, in place of files.
    """

    def __init__(
        self,
        ckpt_path: str | None,
        config_path: str | Path | Sequence[str | Path] = (),
        config: RunConfig | None = None,
    ) -> None:
        """
        :raises FileNotFoundError: for a missing checkpoint.
        :raises ValueError: for a configuration that is missing or wrong.
        """
        if ckpt_path is None and config is None:
            raise ValueError("ckpt_path: expected one, or a configuration, got none.")
        self.checkpoint = ""
        if ckpt_path is not None:
            # the working directory may be another one when a network is read
            self.checkpoint = str(Path(newest_checkpoint(ckpt_path)).absolute())
        if config is None:
            saved = run_of(self.checkpoint) / "config.yaml"
            config = load_run_config(config_path, saved)
        self.config = config
        self.description = training_data(self.checkpoint)
        self._lock = threading.RLock()  # the weights are one pair's at a time
        self._models: dict[tuple, ReptileModel] = {}
        self._compiled: dict[int, set[tuple]] = {}  # shapes, by model
        self._open: dict[tuple[int, str], OpenAdaptation] = {}  # by model and `keep`

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
        self._check_network(adapt_steps, adapt_seconds)
        tuner = FineTune.of(self.config.adapt, adapt_steps, adapt_seconds, keep, carry)
        ready = self._prepare(fixed, moving, initial, tuner)
        result = self._run_network(ready, tuner)
        return self._finish(ready, result, tuner, limits)

    def register_together(
        self,
        pairs: Sequence[tuple[str | Path | PairFiles, str | Path | PairFiles]],
        *,
        adapt_steps: int | None = None,
        adapt_seconds: float | None = None,
        keep: Literal["best", "last"] = "best",
        initial: str = "config",
        limits: Limits | None = None,
    ) -> list[RegisteredPair]:
        """
        Adapt once to several pairs of files, and register them all with what comes out.

        Each update sees one of the pairs, in turn, as the neighbouring frames of a
        sequence. Labels are for scoring alone.

        Source: Zhu et al., ICRA 2021, III-B.

        :param pairs: the fixed and the moving side of each, as for `register`.
        :param adapt_steps: updates in all; None follows the run's `adapt.steps`.
        :param adapt_seconds: as for `register`, for all pairs.
        :param keep: as for `register`; judged by the mean loss of all pairs.
        :param initial: as for `register`.
        :param limits: as for `register`.
        :return: a result for each pair; its seconds are a share of those of all.
        :raises ValueError: as for `register`, and where some pairs have masks and
            others have none.
        """
        if not pairs:
            raise ValueError("pairs: expected one at least, got none.")
        tuner = FineTune.of(self.config.adapt, adapt_steps, adapt_seconds, keep)
        ready = [
            self._prepare(fixed, moving, initial, tuner) for fixed, moving in pairs
        ]
        inputs = [network_inputs(pair.shown, 0) for pair in ready]
        if len({tuple(own) for own in inputs}) > 1:
            raise ValueError(
                "masks: expected one for every image of pairs that are adapted to "
                "together, or for none, got some."
            )
        with self._lock:
            model = self._model(ready[0].config)
            outputs, seconds = register_cases_together(model, inputs, tuner)
        results = [
            case_result(model, pair.case, own, seconds / len(ready))
            for pair, own in zip(ready, outputs, strict=True)
        ]
        return [
            self._finish(pair, result, tuner, limits)
            for pair, result in zip(ready, results, strict=True)
        ]

    def session(
        self,
        fixed: str | Path | Grid,
        moving: str | Path | PairFiles,
        *,
        initial: str = "config",
        keep: Literal["best", "last"] = "best",
        intensity_range: tuple[float, float] | None = None,
    ) -> Session:
        """
        Open a session, to which frames of the fixed image are given as they arrive.

        The network is compiled here: no frame waits for it.

        :param fixed: the grid that the frames are slices of, or an image file with that
            grid, whose voxels are not looked at.
        :param moving: image file, or the files of the moving side, with the label that
            the run adapts by.
        :param initial: as for `register`, but for mass.
        :param keep: as for `register`, among the updates of one call.
        :param intensity_range: intensities of the frames that become 0 and 1, and those
            beyond them, in place of `dataset.intensity`; None goes by that, on the
            frames so far.
        :return: the session.
        :raises ValueError: for files or options that cannot be used, and for a run
            without `sparse_frames`.
        """
        files = moving if isinstance(moving, PairFiles) else PairFiles(str(moving))
        has_range = intensity_range is not None
        check_session(self.config, initial, bool(files.labels), has_range)
        config = pair_config(self.config, initial, bool(files.labels))
        tuner = FineTune.of(config.adapt, 1, keep=keep)
        check_can_adapt(config, tuner)
        with self._lock:
            model = self._model(config)
            key = id(model), keep
            if key not in self._open:
                self._open[key] = model.open_adaptation(tuner.plan)
        return Session(
            config,
            model,
            self._open[key],
            fixed,
            files,
            initial=initial,
            intensity_range=intensity_range,
            expected=self.description,
            lock=self._lock,
        )

    def _check_network(self, steps: int | None, seconds: float | None) -> None:
        """Refuse numbers of updates of a network that is not there."""
        if not self.checkpoint and (steps or seconds is not None):
            raise ValueError(
                "adapt_steps, adapt_seconds: expected none without a network, got "
                f"{steps} and {seconds}. adapt.field.steps says how often the field is "
                "updated."
            )

    def _prepare(
        self,
        fixed: str | Path | PairFiles,
        moving: str | Path | PairFiles,
        initial: str,
        tuner: FineTune,
    ) -> "_Ready":
        """Read and check a pair."""
        sides = [
            side if isinstance(side, PairFiles) else PairFiles(str(side))
            for side in (fixed, moving)
        ]
        labeled = any(side.labels for side in sides)
        config = pair_config(self.config, initial, labeled)
        check_can_adapt(config, tuner)
        landmarks = [_landmarks(side) for side in sides]
        warn_of_landmarks(landmarks)
        names = [Path(side.image).name.split(".")[0] for side in sides]
        name = f"{names[1]}_to_{names[0]}"
        reading = reading_config(config, initial)
        case = read_pair(reading, sides[0], sides[1], name, self.description)
        warn_of_places(case, config.align.mode)
        shown = shown_case(case, initial, sides)
        return _Ready(config, case, shown, landmarks[0], landmarks[1])

    def _finish(
        self,
        ready: "_Ready",
        result: CaseResult,
        tuner: FineTune,
        limits: Limits | None,
    ) -> RegisteredPair:
        """Score a pair and say what is suspect about it."""
        check_masks_meet(ready.case, result)
        if ready.fixed_landmarks is not None and ready.moving_landmarks is not None:
            result.landmarks = ready.fixed_landmarks, ready.moving_landmarks
        pair = RegisteredPair(
            result=result,
            history_names=self._model(ready.config).history_names,
            config=tuner.used_config(ready.config),
            checkpoint=self.checkpoint,
            fixed_landmarks=ready.fixed_landmarks,
            moving_landmarks=ready.moving_landmarks,
            limits=limits or Limits(),
            remarks=tuner.remarks,
        )
        for warning in pair.warnings:
            logger.warning("Suspect transform: %s.", warning)
        return pair

    def forget_pair(self) -> None:
        """Let the next pair that carries weights on start from the trained ones."""
        for model in self._models.values():
            model.forget_pair()

    def _run_network(self, ready: "_Ready", tuner: FineTune) -> CaseResult:
        """Adapt and predict; compile before, so that the time is that of the work."""
        with self._lock:
            return self._adapt(self._model(ready.config), ready, tuner)

    def _adapt(
        self, model: ReptileModel, ready: "_Ready", tuner: FineTune
    ) -> CaseResult:
        """Do it with the model, whose weights nobody else changes meanwhile."""
        case = ready.case
        num_labels = 0 if case.moving_labels is None else len(case.moving_labels)
        inputs = network_inputs(ready.shown, num_labels)
        shapes = tuple((name, value.shape) for name, value in inputs.items())
        shapes = (tuner.plan.kind, *shapes)  # another kind of plan is another graph
        compiled = self._compiled.setdefault(id(model), set())
        # before `protect`, which puts the plan back: the graph stays for the next pair
        model.adapt_plan = tuner.plan
        with tuner.protect(model):
            if shapes not in compiled:
                seconds = tuner.warm_up(model, single_dataset(inputs))
                logger.info("Compiled in %.0f s.", seconds)
                compiled.add(shapes)
            return register_case(model, case, tuner, num_labels, ready.shown)

    def _model(self, config: RunConfig) -> ReptileModel:
        """Return the model for a way of aligning, with or without labels."""
        key = config.align.mode, config.dataset.labeled
        if key not in self._models:
            self._models[key] = load_model(config, self.checkpoint)
        return self._models[key]


def _landmarks(side: PairFiles) -> Landmarks | None:
    if side.landmarks is None:
        return None
    grid = read_volume(Path(side.image)).grid
    return read_landmarks(Path(side.landmarks), grid)
