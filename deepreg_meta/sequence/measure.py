"""Measures of each registered pair of frames, within the region of interest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from deepreg_meta.evaluate import metric
from deepreg_meta.sequence.frames import FrameSequence
from deepreg_meta.sequence.track import TrackedPair

RADIUS = 10  # of the windows, in voxels: Zhu et al. 2021, section III.B


def measure_pair(
    pair: TrackedPair,
    sequence: FrameSequence,
    region: NDArray[np.bool_] | None = None,
    radius: int = RADIUS,
    truth: NDArray | None = None,
) -> dict[str, Any]:
    """
    Measure a registered pair.

    The moving frame is compared with the fixed one as it is and warped by the field,
    intensities in [0, 1]: mean squared error, and the squared local normalised
    correlation in windows that end at the region (`metric.local_ncc`).

    :param pair: of the sequence.
    :param sequence: the frames.
    :param region: of the fixed frame, (d1, d2, d3); None takes all of it.
    :param radius: of the windows in voxels, >= 1.
    :param truth: true ddf of the pair, or None.
    :return: a row of `tracking.csv`; lengths in mm of the frames' grid.
    """
    fixed, moving = sequence.scaled(pair.fixed), sequence.scaled(pair.moving)
    warped = warp_frame(moving, pair.ddf)
    row: dict[str, Any] = {"pair": pair.name, "frame": pair.fixed}
    if sequence.time_step_s is not None:
        row["time_s"] = sequence.time_s(pair.fixed)
    images = (("still", moving), ("tracked", warped))
    row |= {f"mse_{s}": metric.mse(fixed, image, region) for s, image in images}
    window = 2 * radius + 1
    for stage, image in images:
        row[f"nlcc_{stage}"] = metric.local_ncc(fixed, image, region, window)
    row |= _measure_motion(pair, sequence, region)
    if truth is not None:
        row |= _compare(pair.ddf, truth, sequence, region)
    return row | {"seconds": pair.seconds}


def warp_frame(image: NDArray, ddf: NDArray) -> NDArray[np.float32]:
    """
    Take a frame at x + ddf(x), linearly between voxels; beyond it its border goes on.

    Zeros there would count as a difference that nothing which moves can avoid.

    :param image: (d1, d2, d3).
    :param ddf: (d1, d2, d3, 3), voxels.
    :return: (d1, d2, d3).
    """
    places = np.moveaxis(ddf, -1, 0) + np.indices(image.shape, dtype=np.float32)
    frame = np.asarray(image, np.float32)
    return map_coordinates(frame, places, order=1, mode="nearest")


def _measure_motion(
    pair: TrackedPair, sequence: FrameSequence, region: NDArray[np.bool_] | None
) -> dict[str, float]:
    """Return how far the tissue moves, how fast, and whether the field folds."""
    lengths = lengths_of(pair.motion, sequence)
    inside = lengths if region is None else lengths[region]
    folds = metric.fold_statistics(pair.ddf)
    mean, largest = float(inside.mean()), float(inside.max())
    return {
        "motion_mean_mm": mean,
        "motion_max_mm": largest,
        "speed_mean": mean * sequence.per_interval,
        "folds": folds["share_nonpositive"],
        "jacobian_min": folds["min"],
    }


def lengths_of(ddf: NDArray, sequence: FrameSequence) -> NDArray[np.float64]:
    """Return the length of each displacement in mm, (d1, d2, d3)."""
    zero = np.zeros_like(ddf)
    return metric.endpoint_errors(ddf, zero, sequence.grid.spacing_mm)


def _compare(
    ddf: NDArray,
    truth: NDArray,
    sequence: FrameSequence,
    region: NDArray[np.bool_] | None,
) -> dict[str, float]:
    """Return endpoint errors, those of no motion at all among them."""
    spacing = sequence.grid.spacing_mm
    still = metric.endpoint_statistics(np.zeros_like(truth), truth, region, spacing)
    found = metric.endpoint_statistics(ddf, truth, region, spacing)
    return {
        "epe_still_mm": still["mean"],
        "epe_tracked_mm": found["mean"],
        "epe_median_mm": found["median"],
        "epe_p95_mm": found["p95"],
    }
