"""What one registered pair gives: scores, images, fields and a figure."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from deepreg_meta import geometry
from deepreg_meta.dataset.tasks import Case
from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.columns import BASELINE
from deepreg_meta.evaluate.figure import case_figure
from deepreg_meta.evaluate.plot import curves
from deepreg_meta.evaluate.report import (
    format_terminal,
    summary_table,
    write_columns,
    write_csv,
)
from deepreg_meta.evaluate.report import write_summary as write_table
from deepreg_meta.layer.warp import sample
from deepreg_meta.model.registration import locations

STAGES = ("before", "unadapted", "adapted")
WITHOUT_NETWORK = ("before", BASELINE)


@dataclass
class CaseResult:
    """
    A registered pair: what the model put out, and the scores made of it.

    :param case: the pair.
    :param outputs: of `ReptileModel.predict_step`, without the leading axis.
    :param seconds: of adaptation and prediction.
    :param steps: updates made.
    :param frame_axis: axis across the frames.
    :param is_sparse: whether the fixed image was shown in frames.
    :param scores_images: compare intensities too, for images of one modality.
    """

    case: Case
    outputs: dict[str, np.ndarray]
    seconds: float
    steps: int
    frame_axis: int
    is_sparse: bool
    scores_images: bool = False
    case_row: dict = field(default_factory=dict)
    landmark_rows: list[dict] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """Unit of lengths: voxels where the spacing is nominal."""
        return "voxels" if self.case.spacing_is_nominal else "mm"

    @property
    def frames(self) -> np.ndarray:
        """Indices of the frames that the prediction saw."""
        return np.flatnonzero(self.outputs["slices"] > 0)

    def ddf(self, stage: str) -> np.ndarray:
        """Return the field of a stage, zero where no network took part."""
        if stage in WITHOUT_NETWORK:
            return np.zeros_like(self.outputs["ddf"])
        return self.outputs["ddf" if stage == "adapted" else "ddf_unadapted"]

    @property
    def seen(self) -> np.ndarray:
        """1 on the frames that the prediction saw, in a shape that broadcasts."""
        shape = [1, 1, 1]
        shape[self.frame_axis] = -1
        return (self.outputs["slices"] > 0).reshape(shape)

    def alignment(self, stage: str) -> tuple[np.ndarray, np.ndarray]:
        """
        Return A (3, 3) and t (3,) of a stage, from fixed to moving voxels.

        The baseline shifts the centroid of the whole moving gland onto that of the
        fixed gland in the frames seen, axes parallel, a millimetre staying a
        millimetre; where the frames miss the gland, it is that of all other stages.
        """
        own = self.outputs["matrix"], self.outputs["offset"]
        if stage != BASELINE:
            return own
        moving, fixed = (labels[0] for labels in self.case.labels)
        points = metric.centroid(moving), metric.centroid(fixed * self.seen)
        if points[0] is None or points[1] is None:
            return own
        matrix = np.diag(self.case.fixed_spacing_mm / self.case.moving_spacing_mm)
        return matrix.astype(np.float32), points[0] - matrix @ points[1]

    def warp(self, volume: np.ndarray, stage: str) -> np.ndarray:
        """
        Warp a moving volume to the fixed grid.

        :param volume: (m_dim1, m_dim2, m_dim3).
        :param stage: before, unadapted, adapted or the baseline.
        :return: (f_dim1, f_dim2, f_dim3).
        """
        matrix, offset = (part.astype(np.float32) for part in self.alignment(stage))
        loc = locations(tf.constant(self.ddf(stage)[None]), matrix[None], offset[None])
        return sample(tf.constant(volume[None]), loc).numpy()[0]


def score(result: CaseResult) -> dict[str, np.ndarray]:
    """
    Fill the rows of a result in.

    :param result: gets its `case_row` and `landmark_rows`.
    :return: the warped first label by stage (empty for unlabeled data).
    """
    case, warped = result.case, {}
    row = {"case": case.name, "num_updates": result.steps, "seconds": result.seconds}
    if result.is_sparse:
        row["num_frames"] = len(result.frames)
    if result.steps:
        row["seconds_per_update"] = result.seconds / result.steps
    labels = 0 if case.fixed_labels is None else len(case.fixed_labels)
    landmarks = {name: {"case": case.name, "landmark": name} for name in
                 case.label_names[1:labels]}  # fmt: skip
    for stage in (*STAGES, BASELINE) if labels else STAGES:
        if labels:
            warped[stage] = result.warp(case.labels[0][0], stage)
            row |= _score_gland(result, stage, warped[stage])
            row |= _score_landmarks(result, stage, landmarks)
        if result.scores_images and stage != BASELINE:
            image = result.warp(case.moving_image, stage)
            row[f"mse_{stage}"] = metric.mse(case.fixed_image, image)
            row[f"ncc_{stage}"] = metric.ncc(case.fixed_image, image)
        if stage not in WITHOUT_NETWORK:
            folds = metric.fold_statistics(result.ddf(stage))
            row[f"folds_{stage}"] = folds["share_nonpositive"]
            row[f"jacobian_min_{stage}"] = folds["min"]
            row[f"jacobian_sd_log_{stage}"] = folds["sd_log"]
    row["num_landmarks"] = len(landmarks)
    result.case_row, result.landmark_rows = row, list(landmarks.values())
    return warped


def _score_gland(result: CaseResult, stage: str, warped: np.ndarray) -> dict:
    fixed = result.case.labels[1][0]
    scores = {f"dsc_{stage}": metric.dsc(fixed, warped)}
    if result.is_sparse:
        off = metric.dsc_masked(fixed, warped, ~result.seen)
        scores[f"dsc_off_frames_{stage}"] = off
    return scores


def _score_landmarks(result: CaseResult, stage: str, rows: dict[str, dict]) -> dict:
    """Fill in the rows of the landmarks and return the figures of the case."""
    case = result.case
    if not rows:
        return {}
    moving_landmarks, fixed_landmarks = (labels[1:] for labels in case.labels)
    matrix, offset = result.alignment(stage)
    errors = metric.landmark_errors(
        fixed_landmarks,
        moving_landmarks,
        ddf=result.ddf(stage),
        A=matrix,
        t=offset,
        moving_spacing_mm=case.moving_spacing_mm,
        fixed_spacing_mm=case.fixed_spacing_mm,
        warped_landmarks=np.stack(
            [result.warp(label, stage) for label in moving_landmarks]
        ),
        names=list(rows),
    )
    for name, error in errors.items():
        rows[name][f"tre_{stage}_mm"] = error["tre_mm"]
        rows[name][f"tre_blob_{stage}_mm"] = error["tre_blob_mm"]
        rows[name][f"lost_{stage}"] = int(error["lost"])
    points = [error["tre_mm"] for error in errors.values()]
    blobs = [error["tre_blob_mm"] for error in errors.values()]
    return {
        f"tre_{stage}_mm": metric.tre_rms(points),
        f"tre_blob_{stage}_mm": metric.tre_rms(blobs),
        f"lost_{stage}": sum(error["lost"] for error in errors.values()),
    }


def write_case(
    folder: Path, result: CaseResult, save_nifti: bool, save_png: bool
) -> CaseResult:
    """
    Score a pair and write its files below `folder/<case>/`.

    :param folder: of all results.
    :param result: of the pair; its rows are filled in.
    :param save_nifti: write warped image, warped labels, and the field.
    :param save_png: draw the figure.
    :return: the result.
    """
    warped = score(result)
    own = folder / result.case.name
    if save_nifti or save_png:
        own.mkdir(parents=True)
        warped_image = result.warp(result.case.moving_image, "adapted")
    if save_nifti:
        _write_volumes(own, result, warped_image)
    if save_png:
        _draw(own / "figure.png", result, warped_image, warped)
    return result


def _write_volumes(own: Path, result: CaseResult, warped_image: np.ndarray) -> None:
    """Write what other tools open, in the fixed image's space."""
    case, affine = result.case, result.case.fixed_affine
    geometry.save_volume(own / "fixed_image.nii.gz", case.fixed_image, affine)
    geometry.save_volume(own / "warped_image.nii.gz", warped_image, affine)
    for index, name in enumerate(case.label_names):
        warped = result.warp(case.labels[0][index], "adapted")
        path = own / f"warped_label_{name}.nii.gz"
        geometry.save_volume(path, warped, affine)
    displacement = geometry.displacement_lps_mm(
        result.outputs["ddf"],
        result.outputs["matrix"],
        result.outputs["offset"],
        affine,
        case.moving_affine,
    )
    geometry.save_displacement(own / "ddf.nii.gz", displacement, affine)


def _draw(
    path: Path, result: CaseResult, warped_image: np.ndarray, warped: dict
) -> None:
    case, row = result.case, result.case_row
    title = case.name
    if "dsc_adapted" in row:
        title += "   Dice " + " / ".join(f"{row[f'dsc_{s}']:.3f}" for s in STAGES)
        title += " (before / unadapted / adapted)"
    labels = {}
    if warped:
        labels = dict(
            fixed_label=case.labels[1][0],
            moving_label_aligned=warped["before"],
            warped_label=warped["adapted"],
        )
    case_figure(
        path,
        fixed_image=case.fixed_image,
        moving_image_aligned=result.warp(case.moving_image, "before"),
        warped_image=warped_image,
        ddf=result.outputs["ddf"],
        spacing_mm=case.fixed_spacing_mm,
        frames=result.frames if result.is_sparse else None,
        frame_axis=result.frame_axis if result.is_sparse else None,
        title=title,
        unit=result.unit,
        **labels,
    )


def _step_rows(result: CaseResult, names: list[str]) -> list[dict]:
    """Turn the history of an adaptation into documented rows."""
    keys = {"total": "loss"}
    fixed = {"total", "tre_mm", "dsc", "num_frames"}
    keys |= {name: f"loss_{name}" for name in names if name not in fixed}
    rows = []
    for step, values in enumerate(result.outputs["history"]):
        row: dict[str, Any] = {"case": result.case.name, "step": step}
        row |= {keys.get(n, n): float(v) for n, v in zip(names, values, strict=True)}
        rows.append(row)
    return rows


def write_summary(
    folder: Path, results: list[CaseResult], history_names: list[str], title: str = ""
) -> str:
    """
    Write the tables of a split.

    :param folder: of all results.
    :param results: one per case, scored.
    :param history_names: columns of the histories.
    :param title: of the table.
    :return: a short table for the terminal.
    """
    unit = results[0].unit
    rows = [result.case_row for result in results]
    landmarks = [row for result in results for row in result.landmark_rows]
    steps = [row for r in results for row in _step_rows(r, history_names)]
    write_csv(folder / "metrics.csv", rows, unit=unit)
    if landmarks:
        write_csv(folder / "landmarks.csv", landmarks, unit=unit)
    if steps:
        write_csv(folder / "adaptation.csv", steps, unit=unit)
        _draw_histories(folder / "adaptation.png", results, history_names)
    names = {name for row in [*rows, *landmarks, *steps] for name in row}
    write_columns(folder / "columns.md", sorted(names))
    numbers = [name for name in rows[0] if name != "case"]
    write_table(folder / "summary.csv", summary_table(rows, numbers, unit=unit))
    return format_terminal(rows, landmarks, unit=unit, title=title)


def _draw_histories(path: Path, results: list[CaseResult], names: list[str]) -> None:
    columns = {name: index for index, name in enumerate(names)}
    shown = [("loss", "total")]
    if np.isfinite(results[0].outputs["history"][:, columns["dsc"]]).all():
        shown.append(("Dice of the gland", "dsc"))
    histories = {
        title: [result.outputs["history"][:, columns[name]] for result in results]
        for title, name in shown
    }
    curves(path, histories)
