"""
What the sections of a configuration ask of each other: labels that the data has, frames
that the image has, losses that the method can use.
"""

from collections.abc import Mapping
from typing import Any

from deepreg_meta.config.adapt_schema import (
    AdaptConfig,
    AlignConfig,
    SparseFramesConfig,
)
from deepreg_meta.config.dataset_schema import SHAPE_KEYS, DatasetConfig
from deepreg_meta.config.findings import Findings, Key, lookup, show
from deepreg_meta.config.train_schema import TrainConfig


def check_train(train: TrainConfig, labeled: bool, findings: Findings) -> None:
    """
    Check the keys of `train` against each other and against the labels.

    :param train: the section of a run with method reptile.
    :param labeled: whether the data has labels.
    :param findings: receives the errors.
    """
    meta, loss = train.meta, train.loss
    if meta.base == "reptile":
        findings.error(
            ("train", "meta", "base"),
            "expected the model that Reptile trains (ddf, dvf, ...), got 'reptile'.",
        )
    if meta.meta_step_size_end > meta.meta_step_size:
        findings.error(
            ("train", "meta", "meta_step_size_end"),
            f"expected a number in [0, meta_step_size = {meta.meta_step_size}], "
            f"got {meta.meta_step_size_end}.",
        )
    if train.preprocess.shuffle_buffer_num_batch > 1:
        findings.warn(
            ("train", "preprocess", "shuffle_buffer_num_batch"),
            "has no effect with train.method reptile, which draws all pairs in a "
            "random order.",
        )
    image_weight = loss.image.weight if loss.image else 0
    label_weight = loss.label.weight if loss.label else 0
    if label_weight > 0 and not labeled:
        findings.error(
            ("train", "loss", "label"),
            f"expected weight 0 with dataset.labeled false, got {label_weight}. "
            "Set dataset.labeled: true or remove the label loss.",
        )
    elif image_weight == 0 and label_weight == 0:
        findings.error(
            ("train", "loss"),
            "expected image or label with a weight > 0, got 0 for both. "
            "Regularization alone has nothing to register.",
        )


def check_frames(
    sparse: SparseFramesConfig | None,
    adapt: AdaptConfig,
    dataset: DatasetConfig,
    sparse_key: Key,
    findings: Findings,
) -> None:
    """
    Check that no more frames are asked for than the fixed image has slices.

    :param sparse: the augmentation, or None.
    :param adapt: the section; its frames need the axis of `sparse`.
    :param dataset: the section with the shapes.
    :param sparse_key: where `sparse` stands in the configuration.
    :param findings: receives the errors.
    """
    if sparse is None:
        if adapt.frames is not None:
            findings.error(
                ("adapt", "frames"),
                f"expected null without the augmentation sparse_frames, which gives "
                f"the axis, got {show(list(adapt.frames))}.",
            )
        return
    if getattr(dataset, SHAPE_KEYS[dataset.type][-1]) is None:
        return  # `check_dataset` names it
    num_slices = dataset.fixed_shape[sparse.axis]
    pairs = (
        ((*sparse_key, "frames"), sparse.frames),
        (("adapt", "frames"), adapt.frames),
    )
    for key, frames in pairs:
        if frames is not None and frames[1] > num_slices:
            findings.error(
                key,
                f"expected at most {num_slices} frames, the slices of the fixed image "
                f"of shape {list(dataset.fixed_shape)} along axis {sparse.axis}, "
                f"got more frames than slices: {show(list(frames))}.",
            )


def check_labels(
    dataset: DatasetConfig,
    align: AlignConfig,
    adapt: AdaptConfig,
    loss: Any,
    findings: Findings,
) -> None:
    """
    Check that label channels asked for can exist, and that a loss of labels has one.

    :param dataset: the section that declares the labels.
    :param align: the section; mode centroid needs a label.
    :param adapt: the section; its labels guide the adaptation.
    :param loss: `train.loss.label` as it was given.
    :param findings: receives the errors.
    """
    weight = loss.get("weight", 1.0) if isinstance(loss, Mapping) else 0.0
    if dataset.labeled and not adapt.labels and weight:
        findings.error(
            ("adapt", "labels"),
            f"expected a channel, where train.loss.label has a weight of {weight}, got "
            "[]. To adapt by images alone, predict with train.loss.label.weight: 0.",
        )
    channels = [(("adapt", "labels"), channel) for channel in adapt.labels]
    if align.mode in ("centroid", "sections"):
        channels.append((("align", "label"), align.label))
    for key, channel in channels:
        if not dataset.labeled:
            section = "adapt.labels: []" if key[0] == "adapt" else "align: center"
            findings.error(
                key[:1] if key[0] == "align" else key,
                f"expected no label with dataset.labeled false, got channel {channel}. "
                f"Set dataset.labeled: true or use `{section}`.",
            )
        elif dataset.labels and channel >= len(dataset.labels):
            findings.error(
                key,
                f"expected a channel below {len(dataset.labels)}, the number of "
                f"dataset.labels, got {channel}.",
            )


def check_schedule(
    sparse: SparseFramesConfig | None, adapt: AdaptConfig, findings: Findings
) -> None:
    """
    Check that a sweep has frames to show.

    :param sparse: the augmentation, or None.
    :param adapt: the section.
    :param findings: receives the error.
    """
    if sparse is None and adapt.schedule == "sweep":
        findings.error(
            ("adapt", "schedule"),
            "expected all without the augmentation sparse_frames, got 'sweep'.",
        )


def check_intensities(
    dataset: DatasetConfig,
    domains: Mapping[str, DatasetConfig],
    adapt: AdaptConfig,
    image_loss: Any,
    findings: Findings,
) -> None:
    """
    Refuse z-scores where an image loss clips intensities to [0, 1] (DeepReg's gmi).

    :param dataset: the section.
    :param domains: of it.
    :param adapt: the section, whose losses are merged into that of training.
    :param image_loss: `train.loss.image` as it was given.
    :param findings: receives the errors.
    """
    parts = {"dataset": dataset}
    parts |= {f"dataset.domains.{name}": one for name, one in domains.items()}
    scored = []
    for name, part in parts.items():
        steps = part.intensity
        lists = (steps.moving, steps.fixed) if steps else ()
        if any(own and own[-1].name == "z_score" for own in lists):
            scored.append(f"{name}.intensity")
    losses: dict[Key, Any] = {("train", "loss"): {}}
    for index, scale in enumerate(adapt.scales or ()):
        losses["adapt", "scales", str(index), "loss"] = scale.loss
    if adapt.field is not None:
        losses["adapt", "field", "loss"] = adapt.field.loss
    for key, loss in losses.items():
        own = lookup(loss, ("image",))
        given = [part for part in (image_loss, own) if isinstance(part, Mapping)]
        merged = {name: value for part in given for name, value in part.items()}
        if scored and merged.get("name") == "gmi" and merged.get("weight", 1) != 0:
            findings.error(
                (*key, "image", "name"),
                "expected another loss than gmi, which clips intensities to [0, 1], "
                f"where {scored[0]} ends in z_score, got 'gmi'. End the steps with "
                "clip, or use local_ncc.",
            )


def check_deepreg_train(train: Mapping[str, Any], findings: Findings) -> None:
    """
    Check `train` of DeepReg's own methods for what would end in a bare `KeyError`.

    :param train: the section as merged.
    :param findings: receives the errors.
    """
    method = train.get("method")
    if train.get("meta") is not None:
        findings.error(
            ("train", "meta"),
            f"expected no such section with train.method {method}, got "
            f"{show(train['meta'])}. Meta-learning is `train.method: reptile` with "
            f"`train.meta.base: {method}`.",
        )
    for name in ("precision", "recompute", "scales"):
        if train.get(name) is not None:
            findings.error(
                ("train", name),
                f"expected no such key with train.method {method}, which DeepReg "
                f"trains, got {show(train[name])}.",
            )
    seed = train.get("seed")
    if seed is not None and (type(seed) is not int or seed < 0):
        findings.error(
            ("train", "seed"), f"expected an integer >= 0, got {show(seed)}."
        )
    needed = {"loss", "optimizer", "preprocess", "backbone"}
    needed -= {"backbone"} if "model" in train else set()  # the form of DeepReg 0.1.1
    for name in sorted(needed):
        if not isinstance(train.get(name), Mapping):
            findings.error(
                ("train", name),
                f"expected a mapping of keys to values, got {show(train.get(name))}.",
            )
