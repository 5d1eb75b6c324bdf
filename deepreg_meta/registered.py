"""Check that what a configuration names is registered, before any data is read."""

from collections.abc import Iterable, Iterator

from deepreg.registry import (
    BACKBONE_CLASS,
    DATA_AUGMENTATION_CLASS,
    LOSS_CLASS,
    MODEL_CLASS,
    REGISTRY,
)

from deepreg_meta.config import ConfigError, RunConfig
from deepreg_meta.config.findings import suggest


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
    Look every name of a Reptile configuration up in DeepReg's registry.

    :param config: with method reptile.
    :raises ConfigError: a line for each unknown name, with what is registered and the
        nearest of it.
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
    if problems:
        raise ConfigError(problems)
