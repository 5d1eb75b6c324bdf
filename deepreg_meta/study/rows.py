"""The rows of a study: one for each test case of a run."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepreg_meta.evaluate.columns import BASELINE, UNITS
from deepreg_meta.evaluate.endpoint_file import read_foreground, read_pair
from deepreg_meta.evaluate.metric.endpoint import endpoint_statistics

FIELD_FILE = "ddf.nii.gz"
# the network as it was trained, or as it was adapted to the pair
_STAGES = ("adapted", "unadapted")


def has_truth(folder: str | Path) -> bool:
    """Say whether the true fields of a test set are known."""
    return (Path(folder) / "truth").is_dir()


def case_rows(results: Path, test_folder: str | Path) -> list[dict]:
    """
    Gather the figures of each case of a test set.

    :param results: folder that `deepreg_predict` wrote, with fields where the truth is
        known.
    :param test_folder: of the test set; its folder `truth` has the true fields.
    :return: of each case `case`; `dice_before`, `dice_centroids`, with the centroids of
        the first structure aligned, and `dice`, means over the structures, and those of
        each, such as `dice_<structure>_before`, in [0, 1]; likewise `dice_nearest`, of
        labels that take the nearest voxel's value, `asd` and `hd95`, surface distances
        in mm, or in voxels where the spacing is only nominal, nan where a structure was
        lost; `mse_before` and `mse`, `ncc_before` and `ncc`, of the images; `positive`,
        the share of Jacobian determinants > 0 in %, and `jacobian_min`; `updates`,
        `seconds` and `cpu_seconds` of adaptation and prediction; `loss`, which
        adaptation minimises; with truth `epe_before`, `epe` and `epe_p95`, endpoint
        errors in voxels, and `epe_label_before` and `epe_label`, those within the fixed
        labels. Of the adapted network, where it was adapted.
    """
    table = pd.read_csv(results / "metrics.csv", dtype={"case": str})
    stage = next(name for name in _STAGES if f"folds_{name}" in table)
    labels = _label_scores(results, stage)
    rows = []
    for _, values in table.iterrows():
        name = values["case"]
        row = {"case": name, **labels.get(name, {})}
        for column, source in (
            ("mse_before", "mse_before"),
            ("mse", f"mse_{stage}"),
            ("ncc_before", "ncc_before"),
            ("ncc", f"ncc_{stage}"),
            ("jacobian_min", f"jacobian_min_{stage}"),
            ("updates", "num_updates"),
            ("seconds", "seconds"),
            ("cpu_seconds", "cpu_seconds"),
            ("loss", f"loss_{stage}"),
        ):
            row[column] = float(values.get(source, np.nan))
        row["positive"] = 100.0 * (1.0 - float(values[f"folds_{stage}"]))
        if has_truth(test_folder):
            row |= endpoint_row(results / name / FIELD_FILE, Path(test_folder), name)
        rows.append(row)
    return rows


def _label_scores(results: Path, stage: str) -> dict[str, dict[str, float]]:
    """Return the scores of each case's labels; none without labels."""
    path = results / "labels.csv"
    if not path.is_file():
        return {}
    rows: dict[str, dict[str, float]] = {}
    labels = pd.read_csv(path, dtype={"case": str})
    units = [unit for unit in UNITS.values() if f"hd95_before{unit}" in labels]
    for name, group in labels.groupby("case", sort=False):
        row = rows.setdefault(str(name), {})
        patterns = {"dice": "dsc_{}", "dice_nearest": "dsc_nearest_{}"}
        patterns |= {name: f"{name}_{{}}{units[0]}" for name in ("asd", "hd95")}
        present = {k: v for k, v in patterns.items() if v.format(stage) in group}
        for column, pattern in present.items():
            for when in ("before", BASELINE, stage):
                if pattern.format(when) not in group:
                    continue
                ending = "" if when == stage else f"_{when}"
                values = group[pattern.format(when)]
                # a structure that is lost has no distance, and so the case has none
                row[f"{column}{ending}"] = values.mean(skipna=False)
                row |= {
                    f"{column}_{label}{ending}": value
                    for label, value in zip(group["label"], values, strict=True)
                }
    return rows


def endpoint_row(found: Path, test_folder: Path, case: str) -> dict[str, float]:
    """
    Hold the file of a field against the truth.

    :param found: the field of the case, in mm.
    :param test_folder: of the test set.
    :param case: its name.
    :return: as of `endpoint_errors`.
    """
    field = read_pair(found, _truth_file(test_folder, case)).ddf
    return endpoint_errors(field, test_folder, case)


def _truth_file(test_folder: Path, case: str) -> Path:
    return test_folder / "truth" / f"{case}.nii.gz"


def endpoint_errors(field: NDArray, test_folder: Path, case: str) -> dict[str, float]:
    """
    Hold a field against the truth.

    :param field: displacements of the fixed grid, (d1, d2, d3, 3), voxels.
    :param test_folder: of the test set.
    :param case: its name.
    :return: `epe_before`, of no displacement at all, `epe` and `epe_p95`, in voxels;
        with labels `epe_label_before` and `epe_label`, the means where the fixed image
        shows a structure: much of an image may be air, where no loss looks at the
        field.
    """
    truth = read_pair(None, _truth_file(test_folder, case)).truth
    after = endpoint_statistics(field, truth)
    before = endpoint_statistics(np.zeros_like(truth), truth)
    row = {
        "epe_before": before["mean"],
        "epe": after["mean"],
        "epe_p95": after["p95"],
    }
    label = test_folder / "fixed_labels" / f"{case}.nii.gz"
    if label.is_file():
        mask = read_foreground(label, truth.shape[:3])
        for name, found_field in (("_before", np.zeros_like(truth)), ("", field)):
            statistics = endpoint_statistics(found_field, truth, mask)
            row[f"epe_label{name}"] = statistics["mean"]
    return row
