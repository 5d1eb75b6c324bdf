"""What several scales ask of the other keys."""

import itertools
from collections.abc import Sequence

from deepreg_meta.config.adapt_schema import AdaptConfig
from deepreg_meta.config.dataset_schema import SHAPE_KEYS, DatasetConfig
from deepreg_meta.config.findings import Findings, Key, show
from deepreg_meta.config.train_schema import TrainConfig
from deepreg_meta.geometry.scale import scaled_size


def check_scales(
    adapt: AdaptConfig,
    train: TrainConfig | None,
    dataset: DatasetConfig,
    is_sparse: bool,
    findings: Findings,
) -> None:
    """
    Check `adapt.scales`, `adapt.steps` and `train.scales` against the other keys.

    :param adapt: the section.
    :param train: the section of a run with method reptile; None for DeepReg's own.
    :param dataset: the section with the shapes.
    :param is_sparse: whether frames of the fixed image are left out.
    :param findings: receives the errors.
    """
    trained = None if train is None else train.scales
    scales = None if adapt.scales is None else tuple(x.scale for x in adapt.scales)
    _check_steps(adapt, scales, findings)
    for key, numbers in ((("train", "scales"), trained), (("adapt", "scales"), scales)):
        if numbers is not None:
            _check_grids(key, numbers, dataset, findings)
            if adapt.layers != "all":
                findings.error(
                    ("adapt", "layers"),
                    f"expected all with {'.'.join(key)}, got {adapt.layers!r}.",
                )
    _check_field(adapt, dataset, is_sparse, findings)
    if train is not None and train.backbone.name == "identity":
        _check_identity(adapt, trained, findings)
    if scales is not None and not adapt.adapts:
        findings.warn(
            ("adapt", "scales"),
            "no effect without updates: adapt.steps is 0, unless --adapt-steps gives "
            "some.",
        )
    if scales is None:
        if adapt.scale_start == "own":
            findings.error(
                ("adapt", "scale_start"),
                "expected previous without adapt.scales, got 'own'.",
            )
        return
    if trained is not None and trained[: len(scales)] != scales:
        findings.error(
            ("adapt", "scales"),
            f"expected those of train.scales, {show(list(trained))}, or the coarser "
            f"ones of them, got {show(list(scales))}.",
        )
    if trained is None and adapt.scale_start == "own":
        findings.error(
            ("adapt", "scale_start"),
            "expected previous without train.scales, which train weights for every "
            "scale, got 'own'.",
        )
    if is_sparse:
        findings.error(
            ("adapt", "scales"),
            f"expected null with the augmentation sparse_frames, got "
            f"{show(list(scales))}.",
        )
    if len(adapt.labels) > 1:
        findings.error(
            ("adapt", "labels"),
            f"expected one label at most with adapt.scales, got "
            f"{show(list(adapt.labels))}.",
        )


def _check_steps(
    adapt: AdaptConfig, scales: Sequence[float] | None, findings: Findings
) -> None:
    if isinstance(adapt.steps, int):
        return
    count = 1 if scales is None else len(scales)
    if len(adapt.steps) != count:
        rule = "one integer without adapt.scales"
        if scales is not None:
            rule = f"one integer or {count}, one for each of adapt.scales"
        findings.error(
            ("adapt", "steps"), f"expected {rule}, got {show(list(adapt.steps))}."
        )


def _check_identity(
    adapt: AdaptConfig, trained: Sequence[float] | None, findings: Findings
) -> None:
    """Refuse what would adapt a network where there is none."""
    rule = "with train.backbone.name identity, which has no weights"
    scales = adapt.scales and [own.scale for own in adapt.scales]
    for key, numbers in ((("train", "scales"), trained), (("adapt", "scales"), scales)):
        if numbers:
            findings.error(
                key,
                f"expected null {rule}, got {show(list(numbers))}. Scales of the "
                "displacements are adapt.field.scales.",
            )
    if adapt.has_steps:
        steps = adapt.steps if isinstance(adapt.steps, int) else list(adapt.steps)
        findings.error(
            ("adapt", "steps"),
            f"expected 0 {rule}, got {show(steps)}. Updates of the displacements are "
            "adapt.field.steps.",
        )


def _check_field(
    adapt: AdaptConfig, dataset: DatasetConfig, is_sparse: bool, findings: Findings
) -> None:
    """Check `adapt.field` against the other keys."""
    if adapt.field is None:
        return
    key = "adapt", "field"
    _check_grids((*key, "scales"), adapt.field.scales or (), dataset, findings)
    if is_sparse:
        findings.error(
            key, "expected null with the augmentation sparse_frames, got a mapping."
        )
    if len(adapt.labels) > 1:
        findings.error(
            ("adapt", "labels"),
            f"expected one label at most with adapt.field, got "
            f"{show(list(adapt.labels))}.",
        )


def _check_grids(
    key: Key, scales: Sequence[float], dataset: DatasetConfig, findings: Findings
) -> None:
    """Refuse two scales of one grid."""
    if getattr(dataset, SHAPE_KEYS[dataset.type][-1]) is None:
        return  # `check_dataset` names it
    grids = [scaled_size(dataset.fixed_shape, scale) for scale in scales]
    for coarse, fine in itertools.pairwise(grids):
        if coarse == fine:
            findings.error(
                key,
                f"expected scales of different grids, got two of {list(fine)} voxels.",
            )
