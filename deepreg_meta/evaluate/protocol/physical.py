"""
Score a field in space: lengths in mm through the headers, folding as it is.

Each figure is taken before (images where their headers place them) and registered
(through the field). Labels are warped to the grid of the fixed label by the nearest
voxel. Structures that only one of the images shows are left out; one that the warped
label lost has a Dice of 0 and no surface distance, and is counted.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.columns import REGISTERED
from deepreg_meta.evaluate.learn2reg import displacement_transform, read_displacement
from deepreg_meta.evaluate.protocol.pairs import Pair, Pairs
from deepreg_meta.evaluate.protocol.points import Points, read_pair_points
from deepreg_meta.evaluate.protocol.scores import Row, Scores
from deepreg_meta.evaluate.report import summary_table
from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Field, Transform
from deepreg_meta.geometry.volume_file import UNREADABLE, VolumeFile, read_volume
from deepreg_meta.geometry.whole_file import suffix_of

logger = logging.getLogger(__name__)

NOTES = (
    "Lengths are in mm, through the headers; folds are determinants <= 0 of the map in "
    "space. `before` is where the headers place the images, `registered` through the "
    "field. Not comparable with the protocol `learn2reg`."
)


def check(pair: Pair, pairs: Pairs) -> list[str]:
    """
    Look at the field, the labels and the landmarks of a pair before it is scored.

    :param pair: whose files are all there.
    :param pairs: not used; the shape of a field is its own here.
    :return: what is wrong, empty for nothing.
    :raises ValueError: for a file that cannot be read.
    """
    fixed, moving = (_read_image(path) for path in pair.images)
    transform = read_transform(pair.field_file, fixed.grid, moving.grid)
    for part in transform.parts:
        if isinstance(part, Field):
            part.check_finite(str(pair.field_file))
    for label in pair.labels or ():
        _read_index_map(label)
    for files in pair.points.values():
        read_pair_points(files, (fixed.grid, moving.grid), pair.name)
    return []


def read_transform(path: Path, fixed_grid: Grid, moving_grid: Grid) -> Transform:
    """
    Read a field or transform.

    :param path: a file of numbers in the challenge's layout and naming (`disp_*.nii.gz`
        or `.npz`), whose header does not count; or any file of `load_transform`.
    :param fixed_grid: of the fixed image.
    :param moving_grid: of the moving image.
    :return: fixed space to moving space.
    :raises ValueError: for a file that cannot be read.
    """
    from deepreg_meta.geometry.transform_file import load_transform

    if suffix_of(path) == ".npz" or _is_challenge_field(path):
        field = _read_challenge_field(path)
        if field.shape[:3] != fixed_grid.shape:
            raise ValueError(
                f"{path}: expected a field on the grid of the fixed image, "
                f"{fixed_grid.shape}, got shape {field.shape}."
            )
        return displacement_transform(field, fixed_grid, moving_grid)
    return load_transform(path, fixed_grid=fixed_grid, moving_grid=moving_grid)


def _read_challenge_field(path: Path) -> NDArray[np.floating]:
    """Read a field, with advice for this protocol where it has another layout."""
    try:
        return read_displacement(path)
    except GeometryError as err:
        raise GeometryError(
            f"{path}: expected a field (d1, d2, d3, 3) in voxels, the challenge's "
            f"layout, got shape {_shape(path)}. Put the axis of the three components "
            "last: `numpy.moveaxis(field, 0, -1)` where it comes first. Fields in mm "
            "are read in ITK's formats, such as .h5 or .nii.gz with vectors."
        ) from err


def _shape(path: Path) -> tuple[int, ...]:
    if suffix_of(path) == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[arrays.files[0]].shape
    image: Any = nib.load(path)
    return image.shape


def _is_challenge_field(path: Path) -> bool:
    if suffix_of(path) != ".nii.gz" or not path.name.startswith("disp_"):
        return False
    try:
        image: Any = nib.load(path)
    except UNREADABLE:
        return True  # by its name; whoever reads it tells what is wrong
    return image.ndim == 4 and int(image.header["intent_code"]) == 0


def score(pair: Pair, pairs: Pairs) -> Scores:
    """
    Score the field of a pair.

    :param pair: checked.
    :param pairs: says which labels count.
    :return: columns as in `columns.py`.
    :raises ValueError: for a file that cannot be read.
    """
    fixed, moving = (_read_image(path) for path in pair.images)
    transform = read_transform(pair.field_file, fixed.grid, moving.grid)
    scores = Scores({"case": pair.name})
    stages = {"before": Transform(), REGISTERED: transform}
    if pair.labels:
        chosen = next((m.labels for m in pairs.methods if m.labels), None)
        _score_labels(scores, pair, stages, chosen)
    points = {
        kind: read_pair_points(files, (fixed.grid, moving.grid), pair.name)
        for kind, files in pair.points.items()
    }
    if points:
        _score_points(scores, points, stages)
    for stage, mapped in stages.items():
        scores.case |= _score_images(fixed, moving, mapped, stage)
    scores.case |= _score_field(transform, fixed.grid)
    return scores


def aggregate(rows: Sequence[Row]) -> list[Row]:
    """
    Sum up the figures of the cases; warn of structures without surface distances.

    :param rows: of the cases.
    :return: a row per metric: n, mean, sd, median and quartiles, missing values left
        out.
    """
    _warn_of_lost(rows)
    return summary_table(rows).reset_index().to_dict("records")


def _warn_of_lost(rows: Sequence[Row]) -> None:
    """Tell what the mean distances leave out: they look the better for it."""
    told = []
    for stage in ("before", REGISTERED):
        counts = np.array([row.get(f"lost_{stage}", 0) for row in rows], dtype=int)
        cases = np.count_nonzero(counts)
        if cases:
            told.append(f"{counts.sum()} structures in {cases} cases ({stage})")
    if told:
        logger.warning(
            "Left out of HD95 and ASD, as nothing of them is left on the fixed grid: "
            "%s. Their Dice of 0 counts; see the columns lost_*.",
            ", ".join(told),
        )


def _score_labels(
    scores: Scores,
    pair: Pair,
    stages: Mapping[str, Transform],
    chosen: tuple[int, ...] | None,
) -> None:
    fixed, moving = (_read_index_map(path) for path in pair.labels or ())
    both = np.intersect1d(fixed.voxels, moving.voxels)
    values = [int(v) for v in both if v and (chosen is None or int(v) in chosen)]
    rows: list[Row] = [{"case": pair.name, "label": value} for value in values]
    spacing = fixed.grid.spacing_mm
    for stage, transform in stages.items():
        warped = resample(moving.voxels, moving.grid, fixed.grid, transform, "nearest")
        found = []
        for value in values:
            pairing = fixed.voxels == value, warped == value
            found.append(
                {
                    f"dsc_{stage}": metric.dsc(*pairing),
                    f"hd95_{stage}_mm": metric.hd95(*pairing, spacing),
                    f"asd_{stage}_mm": metric.asd(*pairing, spacing),
                    f"lost_{stage}": int(not pairing[1].any()),
                }
            )
        for row, figures in zip(rows, found, strict=True):
            row |= figures
        if found:
            scores.case |= _summary(found)
    scores.labels += rows


def _summary(found: list[dict[str, float]]) -> Row:
    """Return the means over the structures that have a value, and how many are lost."""
    row: Row = {}
    for name in found[0]:
        values = np.array([figures[name] for figures in found], dtype=np.float64)
        if name.startswith("lost_"):
            row[name] = int(values.sum())
        else:
            known = values[~np.isnan(values)]
            row[name] = float(known.mean()) if len(known) else float("nan")
    return row


def _score_points(
    scores: Scores,
    points: Mapping[str, tuple[Points, Points]],
    stages: Mapping[str, Transform],
) -> None:
    """Measure the landmarks of every kind; the figure of the case is of all of them."""
    rows: list[Row] = [
        {"case": scores.case["case"], "points": kind, "landmark": name}
        for kind, (fixed, _) in points.items()
        for name in fixed.names
    ]
    fixed_points, moving_points = (
        np.concatenate([both[side].world for both in points.values()])
        for side in (0, 1)
    )
    for stage, transform in stages.items():
        errors = metric.point_errors(fixed_points, moving_points, transform.map_points)
        for row, error in zip(rows, errors, strict=True):
            row[f"tre_{stage}_mm"] = float(error)
        scores.case[f"tre_{stage}_mm"] = metric.tre_rms(errors)
    scores.case["num_landmarks"] = len(rows)
    scores.landmarks += rows


def _score_images(
    fixed: VolumeFile, moving: VolumeFile, transform: Transform, stage: str
) -> Row:
    """Compare the images where both have values."""
    image = moving.voxels.astype(np.float32)
    warped = resample(image, moving.grid, fixed.grid, transform, outside=np.nan)
    covered = np.isfinite(warped)
    own = fixed.voxels.astype(np.float32)
    pairing = own, np.where(covered, warped, 0), covered & np.isfinite(own)
    return {
        f"overlap_{stage}": float(covered.mean()),
        f"mse_{stage}": metric.mse(*pairing),
        f"ncc_{stage}": metric.ncc(*pairing),
        f"lncc_{stage}": metric.local_ncc(*pairing),
    }


def _score_field(transform: Transform, grid: Grid) -> Row:
    vectors = transform.as_field(grid).vectors
    determinant = metric.jacobian_determinant_world(vectors, grid.affine)
    folds = metric.determinant_statistics(determinant)
    return {
        f"folds_{REGISTERED}": folds["share_nonpositive"],
        f"jacobian_min_{REGISTERED}": folds["min"],
        f"jacobian_sd_log_{REGISTERED}": folds["sd_log"],
        f"displacement_max_{REGISTERED}_mm": float(
            np.linalg.norm(vectors, axis=-1).max()
        ),
    }


def _read_image(path: Path) -> VolumeFile:
    volume = read_volume(path)
    voxels = volume.voxels
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise ValueError(
            f"{path}: expected an image (d1, d2, d3), got shape {voxels.shape}."
        )
    return replace(volume, voxels=voxels)


def read_label(path: Path) -> NDArray[np.int32]:
    """
    Read a label.

    :param path: of an index map.
    :return: (d1, d2, d3).
    :raises ValueError: for a file that cannot be read, or of other than whole numbers.
    """
    return _read_index_map(path).voxels


def _read_index_map(path: Path) -> VolumeFile:
    """Read an index map as whole numbers."""
    volume = _read_image(path)
    whole = np.round(volume.voxels)
    if not np.array_equal(volume.voxels, whole):
        raise ValueError(
            f"{path}: expected an index map of whole numbers, got values between them."
        )
    return VolumeFile(volume.path, whole.astype(np.int32), volume.grid)
