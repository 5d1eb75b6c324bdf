"""
What a pair scores before any network: after the initial alignment of the configuration,
and with nothing but the gland centroids aligned.

The alignment is the one that prediction starts from, made by the same code from the
same frames; a test holds the scores against those of a run.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.pipeline import task_arrays
from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.columns import BASELINE
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.model.build import draw_options
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.registration import RegistrationLoss
from deepreg_meta.model.task import Task
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.scene import Scene

Scores = dict[str, float | int | None]


@dataclass(frozen=True, eq=False)
class Baseline:
    """
    A pair before any network, on the grid of the fixed image's file.

    :param overlap: share of the fixed grid that lies in the moving one.
    :param fixed_image: as stored.
    :param moving_image: after the initial alignment.
    :param fixed_label: the first label; None without labels.
    :param moving_label: the first label after the initial alignment.
    :param grid: of these volumes.
    :param spacing_mm: (3,), possibly overridden by the configuration.
    :param scores: by column of cases.csv; None where there is nothing to measure.
    """

    overlap: float
    fixed_image: NDArray
    moving_image: NDArray
    fixed_label: NDArray | None
    moving_label: NDArray | None
    grid: Grid
    spacing_mm: NDArray
    scores: Scores = field(default_factory=dict)


class Aligner:
    """
    Align pairs as the prediction of a configuration does.

    :param config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        align = config.align.model_dump()
        options = draw_options({**config.raw["train"], "align": align}, batch_size=1)
        if options.frames is not None and config.adapt.frames is not None:
            options = replace(options, frames=config.adapt.frames)
        dataset = config.dataset
        self._options = options
        self._drawer = BatchDrawer(
            options,
            RegistrationLoss({}, labeled=False),  # an alignment needs no loss
            dataset.moving_shape,
            dataset.fixed_shape,
        )

    def align(self, case: Case) -> CaseResult:
        """
        Align a pair.

        :param case: the pair.
        :return: a result without any displacement.
        """
        num_labels = 0 if case.moving_labels is None else len(case.moving_labels)
        arrays = task_arrays(case, num_labels)
        task = Task(**{name: tf.constant(value) for name, value in arrays.items()})
        frames, axis = self._options.frames, self._options.frame_axis
        constants = self._drawer.constants(task)
        num_seen = None if frames is None else frames[1]
        batch = self._drawer.adaptation(task, constants, 0, num_seen)
        slices = np.ones(case.fixed_image.shape[axis], np.float32)
        if frames is not None:
            slices = self._drawer.seen_slices(constants, frames[1], axis).numpy()[0]
        outputs = dict(
            matrix=batch.matrix.numpy()[0],
            offset=batch.offset.numpy()[0],
            slices=slices,
        )
        return CaseResult(
            case=case,
            outputs=outputs,
            seconds=0.0,
            frame_axis=axis,
            is_sparse=frames is not None,
        )


def measure(result: CaseResult) -> Baseline:
    """
    Score a pair before any network.

    :param result: of `Aligner.align`.
    :return: the aligned volumes and the scores.
    :raises DataError: when a file cannot be read any more.
    """
    scene = Scene(result)
    labels = [] if scene.moving_labels is None else [scene.moving_labels[0]]
    aligned = _warp(scene, np.stack([scene.moving_image, *labels]), "before")
    scores: Scores = {"ncc_before": metric.ncc(scene.fixed_image, aligned[0])}
    if scene.fixed_labels is not None and labels:
        scores |= _score(scene, aligned[1], "before")
        centred = _warp(scene, labels[0][None], BASELINE)[0]
        scores |= _score(scene, centred, BASELINE)
        scores["num_landmarks"] = len(scene.fixed_labels) - 1
    return Baseline(
        overlap=_overlap(scene),
        fixed_image=scene.fixed_image,
        moving_image=aligned[0],
        fixed_label=None if scene.fixed_labels is None else scene.fixed_labels[0],
        moving_label=aligned[1] if labels else None,
        grid=scene.fixed_grid,
        spacing_mm=scene.fixed_spacing_mm,
        scores=scores,
    )


def _warp(scene: Scene, volumes: NDArray, stage: str) -> NDArray:
    """Bring moving volumes to the fixed image's grid; `Scene.warped` takes them all."""
    transform = scene.transform(stage)
    return resample(volumes, scene.moving_grid, scene.fixed_grid, transform)


def _overlap(scene: Scene) -> float:
    matrix = scene.transform("before").matrix
    if matrix is None:
        raise RuntimeError("An initial alignment is an affine map.")
    led = Grid(scene.fixed_grid.shape, matrix @ scene.fixed_grid.affine)
    return led.overlap(scene.moving_grid)


def _score(scene: Scene, warped_label: NDArray, stage: str) -> Scores:
    """Score the first label and the landmarks at a stage."""
    moving, fixed = scene.moving_labels, scene.fixed_labels
    if moving is None or fixed is None:
        return {}
    scores: Scores = {f"dsc_{stage}": metric.dsc(fixed[0], warped_label)}
    errors: list[float | None] = []
    for ours, theirs in zip(fixed[1:], moving[1:], strict=True):
        ends = metric.centroid(ours), metric.centroid(theirs)
        if ends[0] is None or ends[1] is None:
            errors.append(None)
            continue
        points = scene.fixed_grid.to_world(ends[0]), scene.moving_grid.to_world(ends[1])
        errors.append(scene.point_error(stage, *points))
    if errors:
        scores[f"tre_{stage}_mm"] = metric.tre_rms(errors)
    return scores
