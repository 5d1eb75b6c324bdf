"""What the keys of `dataset` ask of each other."""

from deepreg_meta.config.findings import Findings, show
from deepreg_meta.config.preprocessing import GridConfig
from deepreg_meta.config.schema import SHAPE_KEYS, DatasetConfig


def check_dataset(dataset: DatasetConfig, is_reptile: bool, findings: Findings) -> None:
    """
    Check the keys of `dataset` against each other.

    :param dataset: the section.
    :param is_reptile: whether the method is ours: DeepReg's own may be grouped.
    :param findings: receives the errors.
    """
    if dataset.type == "grouped" and is_reptile:
        findings.error(
            ("dataset", "type"),
            "expected paired or unpaired with train.method reptile, got 'grouped'. "
            "Grouped data works with DeepReg's own methods.",
        )
        return
    for name in SHAPE_KEYS[dataset.type]:
        if getattr(dataset, name) is None:
            findings.error(
                ("dataset", name),
                f"missing, expected three integers >= 1 for {dataset.type} data.",
            )
    folders = {mode: dataset.folders(mode) for mode in ("train", "valid", "test")}
    if not any(folders.values()) and not is_reptile and dataset.phantom is None:
        findings.error(
            ("dataset", "dir"),
            "expected a folder for train, valid or test, got none. "
            "`dataset.phantom: {}` generates cases instead.",
        )
    _check_roles(dataset, findings)
    _check_references(dataset, findings)
    _check_label_names(dataset, findings)


def _check_label_names(dataset: DatasetConfig, findings: Findings) -> None:
    if dataset.labels and not dataset.labeled:
        findings.error(
            ("dataset", "labels"),
            f"expected null with dataset.labeled false, got {show(dataset.labels)}. "
            "Set dataset.labeled: true to use the label files.",
        )
    if dataset.labels and len(set(dataset.labels.values())) < len(dataset.labels):
        findings.error(
            ("dataset", "labels"),
            f"expected a different integer for each name, got {show(dataset.labels)}.",
        )


def _check_roles(dataset: DatasetConfig, findings: Findings) -> None:
    """Check that unpaired images, each of which may be either, are treated alike."""
    if dataset.type == "paired":
        return
    what = "where every image may be moving or fixed"
    for key, spacing in (
        (("dataset", "spacing_mm"), dataset.spacing_mm),
        (("dataset", "grid", "spacing_mm"), dataset.grid.spacing_mm),
    ):
        if spacing and spacing.moving != spacing.fixed:
            findings.error(
                key,
                f"expected one spacing for {dataset.type} data, {what}, got moving "
                f"{show(spacing.moving)} and fixed {show(spacing.fixed)}.",
            )
    steps = dataset.intensity
    if steps and steps.moving != steps.fixed:
        findings.error(
            ("dataset", "intensity"),
            f"expected one list of steps for {dataset.type} data, {what}, got "
            "different ones for moving and fixed.",
        )


def _check_references(dataset: DatasetConfig, findings: Findings) -> None:
    """Check that only moving images are matched to the fixed image of their pair."""
    steps = dataset.intensity.fixed if dataset.intensity else ()
    if any(step.is_matched_to_pair for step in steps):
        findings.error(
            ("dataset", "intensity"),
            "expected a step match with reference fixed for the moving images of "
            "paired data alone, got one for the fixed images. Write "
            "`{moving: [...], fixed: [...]}`.",
        )


def check_preprocessing_is_used(
    dataset: DatasetConfig, method: str, findings: Findings
) -> None:
    """
    Tell that DeepReg trains on the volumes as it reads them.

    :param dataset: the section of a run with one of DeepReg's own methods.
    :param method: its name.
    :param findings: receives the warnings.
    """
    given = {"grid": dataset.grid != GridConfig(), "intensity": dataset.intensity}
    for name, is_given in given.items():
        if is_given:
            findings.warn(
                ("dataset", name),
                f"has no effect on training with train.method {method}: DeepReg "
                "stretches every volume to the network's shape and its intensities to "
                "[0, 1]. Adaptation would see other images than training did.",
            )
