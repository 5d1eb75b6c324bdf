"""The rows of a study: one for each test case of a run."""

from pathlib import Path

import numpy as np
import pandas as pd

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
    :return: of each case `case`; `dice_before` and `dice`, means over the structures,
        and `dice_<structure>`, in [0, 1]; likewise `asd` and `hd95`, surface distances
        in mm, in voxels where no file states their size; `mse_before` and `mse`,
        `ncc_before` and `ncc`, of the images; `positive`, the share of Jacobian
        determinants > 0 in %, and `jacobian_min`; `updates`, `seconds` and
        `cpu_seconds` of adaptation and prediction; `loss`, which adaptation minimises;
        with truth `epe_before`, `epe` and `epe_p95`, endpoint errors in voxels, and
        `epe_label`, that within the fixed labels. Of the adapted network, where it was
        adapted.
    """
    table = pd.read_csv(results / "metrics.csv", dtype={"case": str})
    stage = next(name for name in _STAGES if f"folds_{name}" in table)
    dice = _dice(results, stage)
    rows = []
    for _, values in table.iterrows():
        name = values["case"]
        row = {"case": name, **dice.get(name, {})}
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


def _dice(results: Path, stage: str) -> dict[str, dict[str, float]]:
    """Return the overlaps of each case; none where the test set has no labels."""
    path = results / "labels.csv"
    if not path.is_file():
        return {}
    rows: dict[str, dict[str, float]] = {}
    labels = pd.read_csv(path, dtype={"case": str})
    for name, group in labels.groupby("case", sort=False):
        after = group[f"dsc_{stage}"]
        row = {"dice_before": group["dsc_before"].mean(), "dice": after.mean()}
        for score in ("asd", "hd95"):
            for unit in ("mm", "vox"):
                if f"{score}_before_{unit}" in group:
                    row[f"{score}_before"] = group[f"{score}_before_{unit}"].mean()
                    row[score] = group[f"{score}_{stage}_{unit}"].mean()
        row |= {f"dice_{n}": v for n, v in zip(group["label"], after, strict=True)}
        rows[str(name)] = row
    return rows


def endpoint_row(found: Path, test_folder: Path, case: str) -> dict[str, float]:
    """
    Hold a field against the truth.

    :param found: the field of the case, in mm.
    :param test_folder: of the test set.
    :param case: its name.
    :return: `epe_before`, of no displacement at all, `epe` and `epe_p95`, in voxels;
        with labels `epe_label`, the mean where the fixed image shows a structure: much
        of an image may be air, where no loss looks at the field.
    """
    true = test_folder / "truth" / f"{case}.nii.gz"
    field, truth, _ = read_pair(found, true)
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
        row["epe_label"] = endpoint_statistics(field, truth, mask)["mean"]
    return row
