"""
Check that what a configuration names is registered and takes the options that it is
given, before any data is read.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from deepreg.registry import (
    BACKBONE_CLASS,
    DATA_AUGMENTATION_CLASS,
    LOSS_CLASS,
    MODEL_CLASS,
    REGISTRY,
)

from deepreg_meta.config import ConfigError, RunConfig
from deepreg_meta.config.findings import suggest

# What the model gives to its backbone, and what DeepReg reads beside a loss's options.
_GIVEN = {"image_size", "out_channels", "name"}
_GIVEN_UNLESS_SET = {"out_kernel_initializer", "out_activation"}
_LOSS_KEYS = {"name", "weight"}


class _Options(NamedTuple):
    """What a class can be built with."""

    known: set[str]
    needed: set[str]  # without a default
    is_open: bool  # takes anything else as well


def _named(config: RunConfig) -> Iterator[tuple[str, str, str]]:
    """Go through (key, registry category, name)."""
    train = config.raw["train"]
    yield "train.meta.base", MODEL_CLASS, config.reptile_train.meta.base
    yield "train.backbone.name", BACKBONE_CLASS, train["backbone"]["name"]
    for term, section in train["loss"].items():
        if section and section.get("name") is not None:
            yield f"train.loss.{term}.name", LOSS_CLASS, section["name"]
    augmentation = (train.get("preprocess") or {}).get("data_augmentation") or []
    for entry in [augmentation] if isinstance(augmentation, dict) else augmentation:
        key = "train.preprocess.data_augmentation"
        yield key, DATA_AUGMENTATION_CLASS, entry["name"]


def _registered(category: str) -> Iterable[str]:
    # DeepReg offers no public way to list a category
    return sorted(key for kind, key in REGISTRY._dict if kind == category)


def check_registered(config: RunConfig) -> None:
    """
    Look every name of a Reptile configuration up in DeepReg's registry, and the options
    of backbone and losses in the signatures of their classes.

    :param config: with method reptile.
    :raises ConfigError: a line for each unknown name, with what is registered and the
        nearest of it; or, when all names are good, for each unknown or missing option.
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
    """Compare the options of backbone and losses with what their classes take."""
    train = config.raw["train"]
    kind = REGISTRY.get(category=BACKBONE_CLASS, key=train["backbone"]["name"])
    options = _options_of(kind)
    options = options._replace(
        known=options.known - _GIVEN,
        needed=options.needed - _GIVEN - _GIVEN_UNLESS_SET,
    )
    problems = _compare(config, "train.backbone", train["backbone"], options, {"name"})
    for term, section in train["loss"].items():
        if section and section.get("name") is not None:
            kind = REGISTRY.get(category=LOSS_CLASS, key=section["name"])
            key, options = f"train.loss.{term}", _options_of(kind)
            problems += _compare(config, key, section, options, _LOSS_KEYS)
    return problems


def _compare(
    config: RunConfig,
    key: str,
    section: Mapping[str, Any],
    options: _Options,
    own: set[str],
) -> list[str]:
    """
    Compare one section with what its class takes.

    :param config: tells who set a key.
    :param key: dotted, of the section.
    :param section: the name and options of the class.
    :param options: of the class.
    :param own: keys of the section that are no options.
    :return: a line for each unknown or missing option.
    """
    known, name = options.known - own, section["name"]
    problems = []
    for option in section:
        if option in own | options.known or options.is_open:
            continue
        here = f"{key}.{option}"
        near = suggest(option, known)
        takes = ", ".join(sorted(known)) if known else "no options"
        hint = f"Did you mean `{near}`?" if near else f"{name} takes {takes}."
        problems.append(
            f"{here} {config.locate(here)}: unknown option of {name}. {hint} "
            "null removes what an earlier file has set."
        )
    missing = sorted(options.needed - own - set(section))
    return problems + [
        f"{key}.{option} {config.locate(key)}: missing, {name} needs it."
        for option in missing
    ]


def _options_of(kind: type) -> _Options:
    """
    Read the signatures of a class, and of those that it hands its `**kwargs` to.

    Keras's own options, at the end of them, are none of a configuration.
    """
    known: set[str] = set()
    needed: set[str] | None = None
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("keras", "tf_keras", "tensorflow"):
            return _Options(known, needed or set(), False)
        if base is object or "__init__" not in vars(base):
            continue
        found = list(inspect.signature(base).parameters.values())
        named = [
            p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        known |= {p.name for p in named}
        if needed is None:  # what the class itself asks for; it may give its base's
            needed = {p.name for p in named if p.default is p.empty}
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            return _Options(known, needed, False)
    return _Options(known, needed or set(), True)
