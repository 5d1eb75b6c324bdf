"""Scores of a registered pair, measured on the images' own grids."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.columns import BASELINE
from deepreg_meta.results.case import WITHOUT_NETWORK
from deepreg_meta.results.scene import Scene

Rows = dict[str, dict]  # by name of the label or landmark


def score(scene: Scene) -> None:
    """
    Fill the rows of a result in: of the case, of its labels and of its landmarks.

    :param scene: its result gets the rows.
    """
    result, names = scene.result, scene.result.case.label_names
    labels = () if scene.fixed_labels is None else names
    row = _count(scene)
    label_rows = {name: {"case": row["case"], "label": name} for name in labels}
    points = [*labels[1:], *_own_landmarks(scene)]
    landmarks = {name: {"case": row["case"], "landmark": name} for name in points}
    for stage in scene.stages:
        if labels:
            row |= _score_labels(scene, stage, label_rows)
        if landmarks:
            row |= _score_landmarks(scene, stage, landmarks)
        if result.scores_images and stage != BASELINE:
            row |= _score_images(scene, stage)
        if stage not in WITHOUT_NETWORK:
            row |= _score_field(scene, stage)
    row["num_landmarks"] = len(landmarks)
    result.case_row = row
    result.label_rows = list(label_rows.values())
    result.landmark_rows = list(landmarks.values())


def _count(scene: Scene) -> dict:
    """Return what was done: frames, updates, time, losses."""
    result = scene.result
    row: dict = {
        "case": result.case.name,
        "num_updates": result.steps,
        "seconds": result.seconds,
    }
    if math.isfinite(result.cpu_seconds):
        row["cpu_seconds"] = result.cpu_seconds
    if result.is_sparse:
        row["num_frames"] = len(result.frames)
    if result.steps:
        row["seconds_per_update"] = result.seconds / result.steps
        row["best_step"] = int(result.outputs["best_step"])
    losses = result.outputs["losses"]
    row["loss_unadapted"], row["loss_adapted"] = (float(loss) for loss in losses)
    return row


def _score_labels(scene: Scene, stage: str, rows: Rows) -> dict:
    """Fill in the rows of the labels and return the scores of the first one."""
    fixed_labels, moved = scene.fixed_labels, scene.warped(stage)
    warped_labels, nearest_labels = moved.labels, moved.nearest_labels
    if fixed_labels is None or warped_labels is None or nearest_labels is None:
        return {}
    spacing = scene.fixed_spacing_mm
    for row, fixed, warped, nearest in zip(
        rows.values(),
        fixed_labels,
        warped_labels,
        nearest_labels,
        strict=True,
    ):
        row[f"dsc_{stage}"] = metric.dsc(fixed, warped)
        row[f"dsc_nearest_{stage}"] = metric.dsc(fixed, nearest)
        row[f"hd95_{stage}_mm"] = metric.hd95(fixed, warped, spacing)
        row[f"asd_{stage}_mm"] = metric.asd(fixed, warped, spacing)
    first = next(iter(rows.values()))
    scores = {name: first[name] for name in first if f"_{stage}" in name}
    if scene.result.is_sparse:
        off = metric.dsc_masked(fixed_labels[0], warped_labels[0], ~scene.seen)
        scores[f"dsc_off_frames_{stage}"] = off
    return scores


def _own_landmarks(scene: Scene) -> tuple[str, ...]:
    """Name the landmarks from files that both images show."""
    if scene.result.landmarks is None:
        return ()
    fixed, moving = scene.result.landmarks
    return tuple(name for name in fixed.names if name in moving.names)


def _point_pairs(scene: Scene) -> Mapping[str, tuple[NDArray | None, NDArray | None]]:
    """Return (fixed, moving) of every landmark in mm, None where there is none."""
    pairs = {}
    if scene.fixed_labels is not None and scene.moving_labels is not None:
        names = scene.result.case.label_names
        for index, name in list(enumerate(names))[1:]:
            fixed = metric.centroid(scene.fixed_labels[index])
            moving = metric.centroid(scene.moving_labels[index])
            pairs[name] = (
                None if fixed is None else scene.fixed_grid.to_world(fixed),
                None if moving is None else scene.moving_grid.to_world(moving),
            )
    if scene.result.landmarks is not None:
        fixed_points, moving_points = (
            dict(zip(own.names, own.points, strict=True))
            for own in scene.result.landmarks
        )
        for name in _own_landmarks(scene):
            pairs[name] = fixed_points[name], moving_points[name]
    return pairs


def _score_landmarks(scene: Scene, stage: str, rows: Rows) -> dict:
    """Fill in the rows of the landmarks and return the figures of the case."""
    for name, (fixed, moving) in _point_pairs(scene).items():
        error = None
        if fixed is not None and moving is not None:
            error = scene.point_error(stage, fixed, moving)
        rows[name][f"tre_{stage}_mm"] = error
    figures = {
        f"tre_{stage}_mm": metric.tre_rms(r[f"tre_{stage}_mm"] for r in rows.values())
    }
    return figures | _score_blobs(scene, stage, rows)


def _score_blobs(scene: Scene, stage: str, rows: Rows) -> dict:
    """Add DeepReg's error, from warped to fixed centroid; lost blobs are counted."""
    fixed_labels, warped_labels = scene.fixed_labels, scene.warped(stage).labels
    names = scene.result.case.label_names
    if fixed_labels is None or warped_labels is None or len(names) < 2:
        return {}
    errors, num_lost = [], 0
    for index, name in list(enumerate(names))[1:]:
        ends = (metric.centroid(fixed_labels[index]),
                metric.centroid(warped_labels[index]))  # fmt: skip
        error = None
        if ends[0] is not None and ends[1] is not None:
            apart = (ends[0] - ends[1]) * scene.fixed_spacing_mm
            error = float(np.linalg.norm(apart))
        lost = ends[1] is None and rows[name][f"tre_{stage}_mm"] is not None
        rows[name] |= {f"tre_blob_{stage}_mm": error, f"lost_{stage}": int(lost)}
        errors.append(error)
        num_lost += lost
    return {
        f"tre_blob_{stage}_mm": metric.tre_rms(errors),
        f"lost_{stage}": num_lost,
    }


def _score_images(scene: Scene, stage: str) -> dict:
    """Compare intensities, each image scaled to [0, 1] by its own range."""
    fixed = _scaled(scene.fixed_image, scene.fixed_image)
    moved = scene.warped(stage)
    warped = _scaled(moved.image, scene.moving_image)
    warped = np.where(moved.covered, warped, 0.0)
    return {
        f"mse_{stage}": metric.mse(fixed, warped),
        f"ncc_{stage}": metric.ncc(fixed, warped),
        f"lncc_{stage}": metric.local_ncc(fixed, warped),
    }


def _scaled(image: NDArray, whole: NDArray) -> NDArray:
    """Scale by the range of the whole image, which has contrast (it was checked)."""
    low = float(whole.min())
    return (image - low) / (float(whole.max()) - low)


def _score_field(scene: Scene, stage: str) -> dict:
    """Judge the network's field on the fixed image, the alignment left out."""
    ddf = scene.ddf(stage)
    folds = metric.fold_statistics(ddf)
    lengths = np.linalg.norm(ddf * scene.fixed_spacing_mm, axis=-1)
    return {
        f"folds_{stage}": folds["share_nonpositive"],
        f"jacobian_min_{stage}": folds["min"],
        f"jacobian_sd_log_{stage}": folds["sd_log"],
        f"displacement_max_{stage}_mm": float(lengths.max()),
    }
