"""From YAML files to one run's configuration: merged left to right, validated whole."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepreg_meta.config import dataset_rules, rules
from deepreg_meta.config.adapt_schema import (
    AdaptConfig,
    AlignConfig,
    SparseFramesConfig,
)
from deepreg_meta.config.augmentation import AffineConfig, GaussianFieldConfig
from deepreg_meta.config.dataset_schema import (
    MODES,
    DatasetConfig,
    DomainConfig,
    PhantomConfig,
)
from deepreg_meta.config.domains import check_domains, parse_domains
from deepreg_meta.config.files import Merged, PathLike, read_files
from deepreg_meta.config.findings import (
    Findings,
    Key,
    check_known_keys,
    lookup,
    parse_section,
    show,
    suggest,
)
from deepreg_meta.config.run import METHOD, OUR_DATASET_KEYS, ConfigError, RunConfig
from deepreg_meta.config.scale_rules import check_scales
from deepreg_meta.config.section import Section
from deepreg_meta.config.train_schema import TrainConfig

logger = logging.getLogger(__name__)

_AUGMENTATION: Key = ("train", "preprocess", "data_augmentation")
_OURS = ("affine", "sparse_frames", "gaussian_field")  # what episodes draw


def load_config(
    paths: PathLike | Sequence[PathLike],
    overrides: Mapping[str, Any] | None = None,
    overrides_origin: str = "in the overrides",
) -> RunConfig:
    """
    Read, merge and validate a configuration.

    :param paths: YAML files, merged left to right; ~ is expanded. Nothing is written,
        neither to them nor beside them.
    :param overrides: nested mapping merged last, such as the command line's flags.
    :param overrides_origin: words that tell where the overrides came from.
    :return: the validated configuration; its warnings have been logged.
    :raises ConfigError: with all problems, a line for each, such as
        "train.meta.inner_steps in meta.yaml: expected an integer >= 1, got 0.".
    """
    merged = read_files(paths)
    if merged.problems:
        raise ConfigError(merged.problems)
    merged.update(overrides or {}, overrides_origin)
    names = merged.names
    default_origin = f"in {', '.join(names)}" if names else overrides_origin
    findings = Findings(merged.origins, default_origin)
    config = _build(merged, findings)
    for warning in findings.warnings:
        logger.warning(warning)
    if config is None:
        raise ConfigError(findings.errors)
    return config


# ---- from the merged mapping to the frozen configuration ----


class _Sections(NamedTuple):
    """The sections of a configuration in their typed forms; None is one with errors."""

    dataset: DatasetConfig | None
    train: TrainConfig | None  # None for DeepReg's own methods, too
    align: AlignConfig | None
    adapt: AdaptConfig | None
    sparse: SparseFramesConfig | None  # None without the augmentation, too
    sparse_key: Key
    is_sparse_good: bool

    @property
    def labeled(self) -> bool:
        """Whether the data has labels, as far as it is known."""
        return self.dataset.labeled if self.dataset else True


def load_run_config(
    paths: PathLike | Sequence[PathLike],
    saved: PathLike,
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """
    Load the files that were named, or the configuration that was saved with a run.

    :param paths: YAML files in place of the saved one; none for that one.
    :param saved: of the run.
    :param overrides: as of `load_config`.
    :raises ConfigError: as `load_config` does, with a hint where the files are no whole
        configuration: they were meant to change the saved one.
    """
    if not paths:
        return load_config(saved, overrides)
    try:
        return load_config(paths, overrides)
    except ConfigError as err:
        if {"dataset", "train"} <= set(read_files(paths).raw):
            raise
        hint = (
            "--config names all files, in place of the one saved with the run. To "
            f"change keys of that one, name it first: --config {saved} ..."
        )
        raise ConfigError([*err.problems, hint]) from err


def _build(merged: Merged, findings: Findings) -> RunConfig | None:
    """Validate the merged mapping; None after an error, which `findings` then holds."""
    raw = merged.raw
    _remove_nulls(raw)
    method = _find_method(raw, findings)
    is_reptile = method == METHOD
    check_known_keys(raw, is_reptile, findings)
    sections = _read_sections(raw, is_reptile, findings)
    dataset, train = sections.dataset, sections.train
    align, adapt = sections.align, sections.adapt
    if train:
        rules.check_train(train, sections.labeled, findings)
    elif method is not None and not is_reptile:
        rules.check_deepreg_train(raw["train"], findings)
    domains = parse_domains(raw["dataset"], dataset, findings) if dataset else {}
    _check_sections(sections, domains, method, raw, findings)
    if method is None or findings.errors:
        return None
    if dataset is None or align is None or adapt is None:  # of which errors tell
        return None
    if is_reptile and dataset.phantom is None:
        dataset = dataset.model_copy(update={"phantom": PhantomConfig()})
    config = RunConfig(
        raw=raw,
        method=method,
        dataset=dataset,
        train=train,
        align=align,
        adapt=adapt,
        sparse_frames=sections.sparse,
        seed=train.seed if train else raw["train"].get("seed") or 0,
        source=merged.names,
        origins=merged.origins,
        domains=domains,
    )
    _write_defaults(config)
    return config


def _read_sections(
    raw: Mapping[str, Any], is_reptile: bool, findings: Findings
) -> _Sections:
    """Validate each section by itself."""
    dataset = _parse(DatasetConfig, raw, "dataset", findings)
    # before `train`, whose typed form then has the defaults of this part of it
    num_errors = len(findings.errors)
    sparse, sparse_key = _parse_augmentation(
        SparseFramesConfig, raw, is_reptile, findings
    )
    is_sparse_good = len(findings.errors) == num_errors
    _parse_augmentation(GaussianFieldConfig, raw, is_reptile, findings)
    if is_reptile:
        _parse_augmentation(AffineConfig, raw, True, findings)
        _check_augmentation_names(raw, findings)
    train = _parse(TrainConfig, raw, "train", findings) if is_reptile else None
    labeled = dataset.labeled if dataset else True
    defaults: dict[str, dict[str, Any]] = {
        "align": {"mode": "center" if is_reptile else "corner"},
        "adapt": {
            "labels": [0] if labeled else [],
            "schedule": "sweep" if sparse else "all",
        },
    }
    align = _parse(AlignConfig, raw, "align", findings, defaults)
    adapt = _parse(AdaptConfig, raw, "adapt", findings, defaults)
    return _Sections(dataset, train, align, adapt, sparse, sparse_key, is_sparse_good)


def _check_sections(
    sections: _Sections,
    domains: Mapping[str, DomainConfig],
    method: str | None,
    raw: Mapping[str, Any],
    findings: Findings,
) -> None:
    """Check the sections, as far as they are good, against each other."""
    dataset, train, align, adapt, sparse, sparse_key, is_sparse_good = sections
    is_reptile = method == METHOD
    if dataset and method is not None:
        dataset_rules.check_dataset(dataset, is_reptile, findings)
    if dataset and align:
        check_domains(dataset, domains, align, is_reptile, findings)
    if dataset and align and adapt and method is not None and is_sparse_good:
        label_loss = lookup(raw, ("train", "loss", "label"))
        rules.check_labels(dataset, align, adapt, label_loss, findings)
        rules.check_schedule(sparse, adapt, findings)
        check_scales(adapt, train, dataset, sparse is not None, findings)
        rules.check_frames(sparse, adapt, dataset, sparse_key, findings)
        if not is_reptile:
            _warn_of_deepreg(dataset, align, method, findings)
    if dataset and adapt:
        image_loss = lookup(raw, ("train", "loss", "image"))
        rules.check_intensities(dataset, domains, adapt, image_loss, findings)


def _warn_of_deepreg(
    dataset: DatasetConfig, align: AlignConfig, method: str, findings: Findings
) -> None:
    """Tell what DeepReg's own methods do not look at in training."""
    if align.mode != "corner":
        findings.warn(
            ("align",),
            f"has no effect on training with train.method {method}: DeepReg lays the "
            "grids corner on corner.",
        )
    dataset_rules.check_preprocessing_is_used(dataset, method, findings)


def _remove_nulls(raw: Mapping[str, Any]) -> None:
    """
    Take what is null out of the sections whose keys depend on their name.

    A later file that names another backbone removes the options of the earlier one so.
    """
    losses = lookup(raw, ("train", "loss"))
    names = list(losses) if isinstance(losses, Mapping) else []
    keys: list[Key] = [("train", "loss", name) for name in names]
    keys += [("train", "backbone"), ("train", "optimizer"), ("adapt", "optimizer")]
    for section in (lookup(raw, key) for key in keys):
        if isinstance(section, dict):
            for name in [name for name, value in section.items() if value is None]:
                del section[name]


def _find_method(raw: Mapping[str, Any], findings: Findings) -> str | None:
    """Find the method, also where DeepReg 0.1.1 had it; None after an error."""
    train = raw.get("train")
    if not isinstance(train, Mapping):
        got = show(train) if "train" in raw else "no such section"
        findings.error(("train",), f"expected a mapping of keys to values, got {got}.")
        return None
    for key in (("method",), ("model", "method"), ("model", "model", "method")):
        method = lookup(train, key)
        if method is not None:
            break
    if not isinstance(method, str):
        findings.error(
            ("train", "method"),
            f"expected the name of a method (reptile, ddf, dvf, ...), got "
            f"{show(method)}.",
        )
        return None
    if method != METHOD and suggest(method, [METHOD]):
        findings.error(
            ("train", "method"), f"unknown method {method!r}. Did you mean `{METHOD}`?"
        )
        return None
    return method


def _parse(
    model: type,
    raw: Mapping[str, Any],
    name: str,
    findings: Findings,
    defaults: Mapping[str, dict] | None = None,
) -> Any:
    """Validate one section; an empty one (null), at any place, counts as absent."""
    data = raw.get(name)
    if name == "align" and data is not None and not isinstance(data, Mapping):
        return parse_section(model, data, (name,), findings)
    if defaults is not None:
        data = {} if data is None else data
        if isinstance(data, Mapping):
            data = {**defaults[name], **data}
    if isinstance(data, Mapping):
        optional = (
            *("dir", "phantom", "grid", "meta", "preprocess"),
            *("seed", "precision", "recompute", "layers", "scales"),
        )
        data = {k: v for k, v in data.items() if v is not None or k not in optional}
    return parse_section(model, data, (name,), findings)


def _parse_augmentation(
    model: type[Section],
    raw: Mapping[str, Any],
    write_defaults: bool,
    findings: Findings,
) -> tuple[Any, Key]:
    """Find and validate one of our augmentations, alone or in a list."""
    name = model.model_fields["name"].default
    found = [(e, k) for e, k in _augmentations(raw) if lookup(e, ("name",)) == name]
    if len(found) > 1:
        findings.error(_AUGMENTATION, f"expected one {name} at most, got {len(found)}.")
    if not found:
        return None, _AUGMENTATION
    entry, key = found[0]
    section = parse_section(model, entry, key, findings)
    if section and write_defaults:
        entry.update(section.model_dump(mode="json"))
    return section, key


def _augmentations(raw: Mapping[str, Any]) -> list[tuple[Any, Key]]:
    """Return the augmentations, one alone or those of a list, with their keys."""
    entries = lookup(raw, _AUGMENTATION)
    if isinstance(entries, list):
        return [(e, (*_AUGMENTATION, str(i))) for i, e in enumerate(entries)]
    return [] if entries is None else [(entries, _AUGMENTATION)]


def _check_augmentation_names(raw: Mapping[str, Any], findings: Findings) -> None:
    """Refuse augmentations that episodes do not draw: nobody would apply them."""
    for entry, key in _augmentations(raw):
        if not isinstance(entry, Mapping):
            continue  # which its section refuses
        name = entry.get("name")
        if name in _OURS:
            continue
        got = "no name" if name is None else show(name)
        near = suggest(str(name), _OURS)
        hint = f" Did you mean `{near}`?" if near else ""
        findings.error(
            (*key, "name"),
            f"expected {', '.join(_OURS[:-1])} or {_OURS[-1]} with train.method "
            f"{METHOD}, got {got}.{hint}",
        )


def _write_defaults(config: RunConfig) -> None:
    """Write the defaults of our sections into `raw`; DeepReg's methods get none."""
    raw = config.raw
    for name, section in (("align", config.align), ("adapt", config.adapt)):
        if config.is_reptile or raw.get(name) is not None:
            raw[name] = section.model_dump(mode="json")
    if not config.is_reptile:
        return
    dataset, train = raw["dataset"], raw["train"]
    typed = config.dataset.model_dump(mode="json")
    for name in ("labeled", *OUR_DATASET_KEYS):
        dataset[name] = typed[name]
    folders = dataset.get("dir") or {}
    dataset["dir"] = {mode: folders.get(mode) for mode in MODES}
    typed = config.reptile_train.model_dump(mode="json")
    for name in (
        *("seed", "precision", "recompute", "scales"),
        *("meta", "save_period", "preprocess"),
    ):
        train[name] = typed[name]
    for name, term in train["loss"].items():
        if isinstance(term, dict) and typed["loss"].get(name):
            term["weight"] = typed["loss"][name]["weight"]
