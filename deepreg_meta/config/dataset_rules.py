"""What the keys of `dataset` ask of each other."""

from deepreg_meta.config.dataset_schema import SHAPE_KEYS, DatasetConfig
from deepreg_meta.config.findings import Findings, Key, show
from deepreg_meta.config.preprocessing import GridConfig, SpacingConfig


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
        shape = getattr(dataset, name)
        if shape is None:
            findings.error(
                ("dataset", name),
                f"missing, expected three integers >= 1, of 2-D images two, for "
                f"{dataset.type} data.",
            )
        elif 1 in shape and not is_reptile:  # zeros would be registered with an image
            findings.error(
                ("dataset", name),
                "expected three sides > 1 with DeepReg's own methods, whose warping "
                f"makes zeros of 2-D images, got {show(list(shape))}. Use train.method "
                "reptile, which with meta.inner_steps 1 and meta_step_size 1 is "
                "ordinary training.",
            )
    folders = {mode: dataset.folders(mode) for mode in ("train", "valid", "test")}
    has_phantom = is_reptile or dataset.phantom is not None
    if not any(folders.values()) and not has_phantom:
        findings.error(
            ("dataset", "dir"),
            "expected a folder for train, valid or test, got none. "
            "`dataset.phantom: {}` generates cases instead.",
        )
    elif not (any(folders.values()) or dataset.domains or dataset.format == "nifti"):
        findings.error(
            ("dataset", "dir"),
            "expected a folder for train, valid or test with dataset.format "
            f"{dataset.format}, got none. The generated phantom is three-dimensional, "
            "in NIfTI.",
        )
    _check_sides(dataset, findings)
    _check_padding(dataset.grid, findings)
    if dataset.format == "png":
        _check_pictures(dataset, findings)
    _check_roles(dataset, findings)
    _check_references(dataset, findings)
    _check_label_names(dataset, findings)


def _spacings(dataset: DatasetConfig) -> list[tuple[Key, SpacingConfig | None]]:
    return [
        (("dataset", "spacing_mm"), dataset.spacing_mm),
        (("dataset", "grid", "spacing_mm"), dataset.grid.spacing_mm),
    ]


def _check_sides(dataset: DatasetConfig, findings: Findings) -> None:
    """Check that voxels with two sides are those of 2-D images."""
    names = SHAPE_KEYS[dataset.type]
    shapes = {
        "moving": getattr(dataset, names[0]),
        "fixed": getattr(dataset, names[-1]),
    }
    for key, spacing in _spacings(dataset):
        for role, shape in shapes.items():
            sides = getattr(spacing, role, None)
            if sides and len(sides) == 2 and shape and shape[2] > 1:
                findings.error(
                    key,
                    f"expected a number or three numbers > 0, in mm, got "
                    f"{show(list(sides))}. Two are for 2-D images, whose shape has two "
                    "sides or a last side of 1.",
                )


def _check_padding(grid: GridConfig, findings: Findings) -> None:
    """Check that there may be padding where it is to be ignored."""
    if grid.padding == "ignore" and grid.fit != "pad":
        findings.error(
            ("dataset", "grid", "padding"),
            f"expected background with dataset.grid.fit {grid.fit}, which adds no "
            "voxels, got 'ignore'.",
        )


def _check_pictures(dataset: DatasetConfig, findings: Findings) -> None:
    """Check what PNG files cannot have: a third axis, a stated orientation."""
    for name in SHAPE_KEYS[dataset.type]:
        shape = getattr(dataset, name)
        if shape and shape[2] > 1:
            findings.error(
                ("dataset", name),
                f"expected two integers with dataset.format png, got "
                f"{show(list(shape))}.",
            )
    if dataset.grid.orientation is not None:
        findings.error(
            ("dataset", "grid", "orientation"),
            "expected null with dataset.format png, whose files state no orientation, "
            f"got {show(dataset.grid.orientation)}.",
        )


def _check_label_names(dataset: DatasetConfig, findings: Findings) -> None:
    if dataset.labels and not dataset.labeled:
        findings.error(
            ("dataset", "labels"),
            f"expected null with dataset.labeled false, got {show(dataset.labels)}. "
            "Set dataset.labeled: true to use the label files.",
        )
    names: dict[int, list[str]] = {}
    for name, value in (dataset.labels or {}).items():
        names.setdefault(value, []).append(name)
    twice = [f"{v} for {' and '.join(own)}" for v, own in names.items() if len(own) > 1]
    if twice:
        findings.error(
            ("dataset", "labels"),
            f"expected a different integer for each name, got {', '.join(twice)}. "
            "Files are merged key by key: names of an earlier one remain.",
        )


def _check_roles(dataset: DatasetConfig, findings: Findings) -> None:
    """Check that unpaired images, each of which may be either, are treated alike."""
    if dataset.type == "paired":
        return
    what = "where every image may be moving or fixed"
    for key, spacing in _spacings(dataset):
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
