"""
Name and describe the columns of the result files: one vocabulary for all of them.

Lengths end in `_mm`. Where the spacing is nominal a file is written with `_vox`
instead, so that none calls a voxel a millimetre.
"""

from fnmatch import fnmatchcase

STAGES = {
    "before": "before registration: initial alignment only",
    "unadapted": "after the network, without adaptation",
    "adapted": "after test-time adaptation",
}
# What every result is held against; it needs no network.
BASELINE = "centroids"
# A field of any method, scored by `deepreg_evaluate`.
REGISTERED = "registered"
_DESCRIBED = {
    **STAGES,
    BASELINE: "gland centroids aligned, that of the fixed gland from the frames seen",
    REGISTERED: "through the field that is evaluated",
}
_STAGED = {
    "dsc": "Dice in [0, 1], whole volume (case: the first label, `deepreg_evaluate`: "
    "mean over structures)",
    "dsc_*": "Dice of the structure in [0, 1], whole volume",
    "dsc_nearest": "Dice in [0, 1] of labels that take the nearest voxel's value in "
    "place of the linear mean, as other programs warp them (case: as for Dice)",
    "dsc_off_frames": "Dice of the first label in [0, 1], off the sampled frames",
    "hd95_*_mm": "95 % Hausdorff distance, the larger direction (case: as for Dice)",
    "asd_*_mm": "symmetric average surface distance (case: as for Dice)",
    "tre_*_mm": "target registration error on points (case: root mean square)",
    "tre_blob_*_mm": "DeepReg's error: warped to fixed centroid, lost ones left out",
    "lost": "landmarks or structures whose warped blob vanished (one: 1 if it did)",
    "overlap": "share in [0, 1] of the fixed image that the warped one covers",
    "mse": "mean squared difference of the warped and the whole fixed image, each "
    "scaled to [0, 1] by its own least and greatest value (`deepreg_evaluate`: as "
    "stored, on what the warped one covers)",
    "ncc": "normalised cross-correlation of the same two images",
    "lncc": "their mean squared correlation in windows of 9 voxels, in [0, 1]",
    "folds": "share of voxels in [0, 1] with a Jacobian determinant <= 0",
    "jacobian_min": "least Jacobian determinant",
    "jacobian_sd_log": "standard deviation of the log of the positive determinants",
    "displacement_max_*_mm": "length of the longest displacement, the initial "
    "alignment left out",
}

# By the challenge's own names, which no column of ours has: `protocol/learn2reg.py`.
_LEARN2REG = {
    "LogJacDetStd": "standard deviation of log(determinant + 3) off the border",
    "num_foldings": "determinants <= 0 after adding 3 and clipping at 1e-9, always 0",
    "DSC": "Dice in [0, 1] (case: mean over structures that both images show)",
    "HD95": "95 % Hausdorff distance in voxels, surfels weighed by area (case: as DSC)",
    "TRE_*": "target registration error in the moving spacing (case: mean)",
    "std": "standard deviation of the population (n)",
    "quantile_30": "quantile of 0.3",
}


def stage_column(metric: str, stage: str) -> str:
    """
    Name the column of a metric at a stage.

    :param metric: `dsc`, or `tre_*_mm` where the stage stands inside.
    :param stage: key of STAGES.
    :return: `dsc_adapted`, `tre_adapted_mm`.
    """
    if metric.endswith("_*_mm"):
        return metric.replace("*", stage)
    return f"{metric}_{stage}"


# Of sequences, `deepreg_track`: pairs of neighbours, in the region of interest.
_STILL, _TRACKED = "as if nothing moved", "by the tracking"
_TRACKS = {
    "mse": "mean squared difference of the two frames, intensities in [0, 1]",
    "nlcc": "their mean squared local correlation in windows that end at the region",
    "epe_*_mm": "mean distance from the true displacement",
    "dsc": "Dice in [0, 1] of the first frame's label with that of a later frame",
    "error_*_mm": "distance of a point from where it is known to be in that frame",
}
_TRACKING = {
    "pair": "pair of frames: from the fixed one to the moving one",
    "frame": "index of the frame (pair: of the fixed one), from 0",
    "time_s": "when the frame was taken in s, the first one at 0",
    **{
        stage_column(metric, stage): f"{text}; {how}"
        for metric, text in _TRACKS.items()
        for stage, how in (("still", _STILL), ("tracked", _TRACKED))
    },
    "epe_median_mm": "median distance from the true displacement",
    "epe_p95_mm": "95th percentile of the distances from the true displacement",
    "motion_mean_mm": "mean motion from one frame to the next",
    "motion_max_mm": "longest motion from one frame to the next",
    "speed_mean": "mean speed, in the unit that `tracking.json` names",
    "folds": "share of voxels in [0, 1] with a Jacobian determinant <= 0",
    "jacobian_min": "least Jacobian determinant",
}

COLUMNS: dict[str, str] = {
    "case": "name of the case, as in the file names",
    "landmark": "name or label channel of the landmark",
    "label": "name or value of the structure",
    "points": "set of landmarks that the landmark is of",
    "step": "updates taken before this row: the update from here is the next",
    **{
        stage_column(metric, stage): f"{text}; {when}"
        for metric, text in _STAGED.items()
        for stage, when in _DESCRIBED.items()
    },
    "num_landmarks": "landmarks that both images of the case show",
    "scale": "scale of the grid that an update was of, as a share of the sides",
    "num_frames": "frames of the fixed image seen (case: by the prediction)",
    "warning": "what is suspect about the transform; empty for nothing",
    "num_updates": "adaptation updates made",
    "seconds": "time of adaptation and prediction in s",
    "cpu_seconds": "CPU time of adaptation and prediction in s, all cores together",
    "seconds_per_update": "seconds by num_updates, s: an update, and its share of the "
    "predictions before and after",
    "best_step": "update whose weights were kept, 0 for those before adaptation",
    "loss_unadapted": "total loss of the unadapted weights on what the prediction saw",
    "loss_adapted": "total loss of the weights kept on what the prediction saw",
    "inverse_residual_mean_mm": "mean distance of points from where they started, "
    "after the transform and its inverse",
    "inverse_residual_max_mm": "the largest of these distances",
    "loss": "total loss that the update started from",
    "loss_*": "one term of the loss, without its weight",
    "dsc": "Dice of the whole gland in [0, 1] that the update started from",
    "tre_mm": "root mean square of the landmark errors the update started from",
    "metric": "column that is summarised",
    "n": "number of values; missing ones are left out",
    "mean": "mean over cases (or landmarks)",
    "sd": "standard deviation of the sample (n - 1)",
    "median": "median",
    "q1": "lower quartile",
    "q3": "upper quartile",
    **{name: f"Learn2Reg's scorer: {text}" for name, text in _LEARN2REG.items()},
    **_TRACKING,
}
UNITS = {"mm": "_mm", "voxels": "_vox"}


def describe_column(name: str) -> str:
    """
    Look up what a column holds.

    :param name: column of a CSV file, in either unit; `loss_image` meets `loss_*`.
    :return: the description, with the unit of a length.
    :raises ValueError: when no entry of COLUMNS documents the column.
    """
    is_vox = name.endswith("_vox")
    key = name.removesuffix("_vox") + "_mm" if is_vox else name
    text = COLUMNS.get(key)
    if text is None:
        patterns = (pattern for pattern in COLUMNS if fnmatchcase(key, pattern))
        text = COLUMNS.get(next(patterns, ""))
    if text is None:
        raise ValueError(
            f"report: column {name!r} is not documented. Add it to COLUMNS in "
            "deepreg_meta/evaluate/columns.py."
        )
    if key.endswith("_mm"):
        unit = "voxels (nominal spacing)" if is_vox else "mm"
        return f"{text}; in {unit}"
    return text


def rename_unit(name: str, unit: str) -> str:
    """
    Give a column of lengths the ending of its unit.

    :param name: column; one that does not end in `_mm` is left as it is.
    :param unit: "mm" or "voxels".
    :return: the name to write.
    :raises ValueError: for another unit.
    """
    if unit not in UNITS:
        raise ValueError(f"report unit: expected one of {list(UNITS)}, got {unit!r}.")
    return name[: -len("_mm")] + UNITS[unit] if name.endswith("_mm") else name
