"""
Score a field exactly as the Learn2Reg challenge does, its quirks included.

Equal to github.com/MDL-UzL/L2R, evaluation/L2RTest/evaluation.py at commit 00106df with
evaluation/utils.py at commit 8847509 ("eval_version" 2.0), in names and in numbers.
What to know before these numbers are quoted:

- HD95 is in voxels whatever the spacing, with the surfaces of `metric.surfel`; it is
  infinite for a structure that the warped label lost.
- LogJacDetStd is the standard deviation of log(det + 3), so that folds hardly show, and
  leaves out two voxels along every border. Its determinants are in voxels.
- num_foldings counts determinants <= 0 after 3 was added and values were clipped at
  1e-9: it is always 0.
- A voxel whose partner lies beyond the centre of an outer voxel becomes background.
- TRE interpolates the field with cubic splines, takes it for 0 outside the grid,
  measures with the spacing of the moving image and ignores orientation; the figure of a
  case is the mean over its landmarks.
- A structure that one of the images lacks is left out of the mean of its case. The
  figures of the data set leave nothing out: one infinite or nan case makes them so.

Left out is that the scorer stops on fewer than three pairs, and on a single landmark.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from deepreg_meta.evaluate import metric
from deepreg_meta.evaluate.learn2reg import read_displacement
from deepreg_meta.evaluate.metric.surfel import robust_hausdorff
from deepreg_meta.evaluate.protocol.pairs import Method, Pair, Pairs
from deepreg_meta.evaluate.protocol.points import read_pair_points
from deepreg_meta.evaluate.protocol.scores import Row, Scores
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.volume_file import UNREADABLE, read_volume

logger = logging.getLogger(__name__)

_CROP = (slice(2, -2),) * 3
NUM_FOLDINGS = "num_foldings"
NOTES = (
    "Equal to the challenge's scorer, its quirks included: HD95 is in voxels, "
    "num_foldings is always 0, LogJacDetStd is of the determinant + 3. Not comparable "
    "with the protocol `physical`."
)


def check(pair: Pair, pairs: Pairs) -> list[str]:
    """
    Look at the field and the labels of a pair before anything is scored.

    :param pair: whose files are all there.
    :param pairs: says the shape that the challenge expects.
    :return: what is wrong, empty for nothing.
    :raises ValueError: for a file that cannot be read.
    """
    path = pair.field_file
    field = read_displacement(path)
    expected = pairs.shape or (*_sides(pair.images[0]), 3)
    problems = []
    if field.shape != expected:
        problems.append(f"{path}: expected shape {expected}, got {field.shape}")
    if not np.isfinite(field).all():
        problems.append(f"{path}: expected finite displacements, got NaN or infinite")
    if pair.labels:
        fixed, moving = (_sides(path) for path in pair.labels)
        if fixed != field.shape[:3]:
            problems.append(
                f"{pair.labels[0]}: expected a label on the grid of the field, "
                f"{field.shape[:3]}, got shape {fixed}"
            )
        if len(moving) != 3:
            problems.append(
                f"{pair.labels[1]}: expected a label (d1, d2, d3), got shape {moving}"
            )
    for files in pair.points.values():
        try:
            read_pair_points(files, _grids(pair), pair.name)
        except ValueError as err:  # told along with what the field has
            problems.append(str(err))
    return problems


def score(pair: Pair, pairs: Pairs) -> Scores:
    """
    Score the field of a pair.

    :param pair: checked.
    :param pairs: says which metrics count.
    :return: columns by the challenge's names.
    :raises ValueError: for a file that cannot be read.
    """
    field = read_displacement(pair.field_file)
    scores = Scores({"case": pair.name})
    for method in pairs.methods:
        if method.metric == "sdlogj":
            found = log_jacobian(field, _mask(pair))
            scores.case |= {method.name: found[0], NUM_FOLDINGS: found[1]}
        elif method.metric == "tre" and method.points in pair.points:
            _score_points(scores, pair, method, field)
    overlap = [m for m in pairs.methods if m.metric in ("dice", "hd95")]
    if overlap and pair.labels:
        _score_labels(scores, pair, overlap, field)
    return scores


def log_jacobian(field: NDArray, mask: NDArray | None = None) -> tuple[float, float]:
    """
    Compute the standard deviation of log(det + 3) and the number of folds.

    :param field: (d1, d2, d3, 3), voxels; sides below 5 leave nothing and give nan.
    :param mask: of the fixed image; voxels of value 1 count. None counts all.
    :return: the deviation, and 0.
    """
    gradients = []
    for axis in range(3):
        ends = [list(_CROP), list(_CROP)]
        ends[0][axis], ends[1][axis] = slice(1, -3), slice(3, -1)
        gradient = 0.5 * (field[tuple(ends[1])] - field[tuple(ends[0])])
        gradients.append(gradient.astype(np.float64))
        gradients[axis][..., axis] += 1.0
    determinant = np.einsum(
        "...i,...i", gradients[0], np.cross(gradients[1], gradients[2])
    )
    clipped = (determinant + 3).clip(1e-9, 1e9)
    logarithm = np.log(clipped)
    if mask is not None:
        logarithm = logarithm[mask[_CROP] == 1]
    deviation = float(logarithm.std()) if logarithm.size else float("nan")
    return deviation, float((clipped <= 0).sum())


def warp_label(label: NDArray, field: NDArray) -> NDArray:
    """
    Warp a moving label to the fixed grid.

    :param label: (m1, m2, m3).
    :param field: (d1, d2, d3, 3), voxels.
    :return: (d1, d2, d3).
    """
    places = np.indices(field.shape[:3]) + np.moveaxis(field, -1, 0)
    return map_coordinates(label, places, order=0)


def landmark_distances(
    fixed: NDArray, moving: NDArray, field: NDArray, moving_spacing: Sequence[float]
) -> NDArray[np.float64]:
    """
    Measure the distances of mapped landmarks from their partners.

    :param fixed: (N, 3), voxels.
    :param moving: (N, 3), voxels.
    :param field: (d1, d2, d3, 3), voxels.
    :param moving_spacing: (3,).
    :return: (N,), in the unit of the spacing.
    """
    moved = [map_coordinates(field[..., axis], fixed.T) for axis in range(3)]
    return np.linalg.norm(
        (fixed + np.stack(moved, -1) - moving) * moving_spacing, axis=1
    )


def aggregate(rows: Sequence[Row]) -> list[Row]:
    """
    Sum up the figures of a data set as the challenge does.

    :param rows: of the cases.
    :return: a row per metric: mean, std (of the population) and the quantile of 0.3,
        nan or infinite where a case is.
    """
    columns = dict.fromkeys(key for row in rows for key in row if key != "case")
    table: list[Row] = []
    for name in columns:
        found = [row[name] for row in rows if name in row]  # pairs may lack landmarks
        values = np.array(found, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            table.append(
                {
                    "metric": name,
                    "n": len(values),
                    "mean": float(values.mean()),
                    "std": float(values.std()),
                    "quantile_30": float(np.quantile(values, 0.3)),
                }
            )
    return table


def _score_points(scores: Scores, pair: Pair, method: Method, field: NDArray) -> None:
    fixed, moving = read_pair_points(
        pair.points[method.points], _grids(pair), pair.name
    )
    header: Any = nib.load(pair.images[1]).header
    distances = landmark_distances(
        fixed.voxels, moving.voxels, field, header.get_zooms()[:3]
    )
    scores.case[method.name] = float(distances.mean())
    for name, distance in zip(fixed.names, distances, strict=True):
        row: Row = {"case": pair.name, "points": method.points, "landmark": name}
        scores.landmarks.append({**row, method.name: float(distance)})


def _score_labels(
    scores: Scores, pair: Pair, methods: Sequence[Method], field: NDArray
) -> None:
    """Score the structures; those that one of the images lacks give nan."""
    fixed, moving = (read_label(path) for path in pair.labels or ())
    warped = warp_label(moving, field)
    there = np.union1d(fixed[np.isfinite(fixed)], moving[np.isfinite(moving)])
    every = tuple(int(value) for value in there if value == int(value) != 0)
    rows: dict[int, Row] = {}
    for method in methods:
        measure = metric.dsc if method.metric == "dice" else robust_hausdorff
        values = []
        for value in method.labels or every:
            in_fixed = fixed == value
            values.append(float("nan"))
            if in_fixed.any() and (moving == value).any():
                values[-1] = measure(in_fixed, warped == value)
            row = rows.setdefault(value, {"case": pair.name, "label": value})
            row[method.name] = values[-1]
        known = [number for number in values if not np.isnan(number)]
        scores.case[method.name] = float(np.mean(known)) if known else float("nan")
    scores.labels += rows.values()


def _mask(pair: Pair) -> NDArray | None:
    """Read the mask; without one the scorer, too, goes on."""
    if pair.mask is None:
        return None
    if not pair.mask.is_file():
        logger.warning("%s: no mask %s, so all voxels count.", pair.name, pair.mask)
        return None
    return read_label(pair.mask)


def _grids(pair: Pair) -> tuple[Grid, Grid]:
    fixed, moving = (read_volume(path).grid for path in pair.images)
    return fixed, moving


def _sides(path: Path) -> tuple[int, ...]:
    """:raises ValueError: for a file that cannot be read."""
    try:
        image: Any = nib.load(path)
    except UNREADABLE as err:
        raise ValueError(f"{path}: cannot be read ({err}).") from err
    return image.shape


def read_label(path: Path) -> NDArray[np.float64]:
    """
    Read a label, or a mask, as the scorer does: its header does not count.

    :param path: of a NIfTI file.
    :return: values, in the shape of the file.
    :raises ValueError: for a file that cannot be read.
    """
    try:
        image: Any = nib.load(path)
        return image.get_fdata()
    except UNREADABLE as err:
        raise ValueError(f"{path}: cannot be read ({err}).") from err
