"""
Check that what a configuration names is registered and takes the options that it is
given, before any data is read.
"""

import inspect
import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from deepreg.model.backbone import GlobalNet, LocalNet, UNet
from deepreg.registry import (
    BACKBONE_CLASS,
    DATA_AUGMENTATION_CLASS,
    LOSS_CLASS,
    MODEL_CLASS,
    REGISTRY,
)

from deepreg_meta.config import ConfigError, RunConfig
from deepreg_meta.config.findings import suggest
from deepreg_meta.entry_options import (
    Options,
    Section,
    class_options,
    optimizer_options,
    option_problems,
)
from deepreg_meta.model.build_scales import merge_loss
from deepreg_meta.model.registration import build_loss

# What the model gives to its backbone, and what DeepReg reads beside a loss's options.
_GIVEN = {"image_size", "out_channels", "name"}
_GIVEN_UNLESS_SET = {"out_kernel_initializer", "out_activation"}
_LOSS_KEYS = {"name", "weight"}


def _named(config: RunConfig) -> Iterator[tuple[str, str, str]]:
    """Go through (key, registry category, name)."""
    train = config.raw["train"]
    yield "train.meta.base", MODEL_CLASS, config.reptile_train.meta.base
    yield "train.backbone.name", BACKBONE_CLASS, train["backbone"]["name"]
    for term, section in train["loss"].items():
        if section and section.get("name") is not None:
            yield f"train.loss.{term}.name", LOSS_CLASS, section["name"]
    for place, changes in _changed_losses(config):
        for term, section in changes.items():
            if section and section.get("name") is not None:
                yield f"{place}.{term}.name", LOSS_CLASS, section["name"]
    augmentation = (train.get("preprocess") or {}).get("data_augmentation") or []
    for entry in [augmentation] if isinstance(augmentation, dict) else augmentation:
        key = "train.preprocess.data_augmentation"
        yield key, DATA_AUGMENTATION_CLASS, entry["name"]


def _registered(category: str) -> list[str]:
    # DeepReg offers no public way to list a category
    return sorted(key for kind, key in REGISTRY._dict if kind == category)


def check_registered(config: RunConfig) -> None:
    """
    Look every name of a Reptile configuration up in DeepReg's registry, and the options
    of backbone, losses and optimisers in the signatures of their classes.

    :param config: with method reptile.
    :raises ConfigError: a line for each unknown name, with what is registered and the
        nearest of it; or, when all names are good, for each unknown, wrong
        or missing option.
    """
    problems = []
    for key, category, name in _named(config):
        if REGISTRY.contains(category=category, key=name):
            continue
        known = _registered(category)
        near = suggest(name, known)
        hint = f" Did you mean `{near}`?" if near else ""
        problems.append(
            f"{key} {config.locate(key)}: expected one of {', '.join(known)}, got "
            f"{name!r}.{hint}"
        )
    problems = problems or _option_problems(config)
    if problems:
        raise ConfigError(problems)


def _option_problems(config: RunConfig) -> list[str]:
    """Compare the options of backbone, losses and optimisers with what they take."""
    train = config.raw["train"]
    section = Section("train.backbone", train["backbone"], {"name"}, config.locate)
    problems = list(_backbone_problems(section, max(config.dataset.fixed_shape)))
    for term, data in train["loss"].items():
        if data and data.get("name") is not None:
            section = Section(f"train.loss.{term}", data, _LOSS_KEYS, config.locate)
            problems += _loss_problems(section, term)
    adapt = config.raw["adapt"]
    for key, changes in _changed_losses(config):
        for term, data in merge_loss(train["loss"], changes).items():
            if data.get("name") is not None and changes.get(term):
                section = Section(f"{key}.{term}", data, _LOSS_KEYS, config.locate)
                problems += _loss_problems(section, term)
    for key, data in (
        ("train.optimizer", train["optimizer"]),
        ("train.meta.outer_optimizer", train["meta"].get("outer_optimizer")),
        ("adapt.optimizer", adapt.get("optimizer")),
        ("adapt.field.optimizer", (adapt.get("field") or {}).get("optimizer")),
    ):
        if data:
            kind = getattr(tf.keras.optimizers, data["name"])
            section = Section(key, data, {"name", "learning_rate"}, config.locate)
            problems += option_problems(section, optimizer_options(kind))
    return problems


def _changed_losses(config: RunConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Go through what adaptation changes of the loss: key and change."""
    for scale in config.adapt.scales or ():
        if scale.loss:
            yield f"adapt.scales ({scale.scale:g}).loss", dict(scale.loss)
    field = config.adapt.field
    if field is not None and field.loss:
        yield "adapt.field.loss", dict(field.loss)


def _backbone_problems(section: Section, side: int) -> Iterator[str]:
    """
    Check the options of a backbone, and of one that it wraps.

    :param section: of the backbone, whose name is registered.
    :param side: the longest of the fixed grid, voxels.
    """
    kind = REGISTRY.get(category=BACKBONE_CLASS, key=section.data["name"])
    options = class_options(kind)
    rules = {key: rule for key, rule in options.rules.items() if key not in _GIVEN}
    needed = options.needed - _GIVEN - _GIVEN_UNLESS_SET
    yield from option_problems(section, Options(rules, needed, options.is_open))
    values = getattr(kind, "option_problems", None)  # of our own backbones
    for text in values(section.data) if values else ():
        name, _, text = text.partition(": ")
        yield f"{section.key}.{name} {section.locate(f'{section.key}.{name}')}: {text}"
    yield from _level_problems(section, kind, side)
    wrapped = section.data.get("backbone")
    names = set(_registered(BACKBONE_CLASS))
    if isinstance(wrapped, dict) and wrapped.get("name") in names:
        key = f"{section.key}.backbone"
        yield from _backbone_problems(section._replace(key=key, data=wrapped), side)


def _level_problems(section: Section, kind: type, side: int) -> Iterator[str]:
    """
    Check that the levels of DeepReg's networks have something to halve.

    :param section: of the backbone.
    :param kind: its class.
    :param side: the longest of the fixed grid, voxels.
    """
    if not issubclass(kind, (UNet, LocalNet, GlobalNet)):
        return
    most = max(math.ceil(math.log2(side)), 1)
    depth, levels = section.data.get("depth"), section.data.get("extract_levels")
    if type(depth) is int and not 1 <= depth <= most:
        key = f"{section.key}.depth"
        yield (
            f"{key} {section.locate(key)}: expected an integer in [1, {most}], where "
            f"the longest side of {side} voxels has become one, got {depth}."
        )
    is_list = isinstance(levels, list) and all(type(level) is int for level in levels)
    if is_list and not (levels and 0 <= min(levels) <= max(levels) <= most):
        key = f"{section.key}.extract_levels"
        yield (
            f"{key} {section.locate(key)}: expected one or more integers in [0, "
            f"{most}], where the longest side of {side} voxels has become one, got "
            f"{levels}."
        )


def _loss_problems(section: Section, term: str) -> list[str]:
    """
    Check a loss: its options, and that it compares what its place has to compare.

    :param section: of the loss.
    :param term: image, label or regularization.
    """
    kind = REGISTRY.get(category=LOSS_CLASS, key=section.data["name"])
    problems = list(option_problems(section, class_options(kind)))
    call = kind.call if hasattr(kind, "call") else kind.__call__
    parameters = list(inspect.signature(call).parameters.values())[1:]
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = sum(p.kind is plain and p.default is p.empty for p in parameters)
    wanted = 1 if term == "regularization" else 2
    if taken != wanted:
        key = f"{section.key}.name"
        rule = "a loss of one field" if wanted == 1 else "a loss of two volumes"
        problems.append(
            f"{key} {section.locate(key)}: expected {rule}, got "
            f"{section.data['name']!r}, which takes {taken}."
        )
    if problems:
        return problems
    options = {key: v for key, v in section.data.items() if key != "weight"}
    try:
        build_loss(options)
    except Exception as err:  # whatever a constructor refuses
        text = " ".join(str(err).split()) or type(err).__name__
        if text.startswith(f"{section.key}."):
            key, _, text = text.partition(": ")
            return [f"{key} {section.locate(key)}: {text}"]
        where = section.locate(section.key)
        return [f"{section.key} {where}: cannot be built: {text}"]
    return []
