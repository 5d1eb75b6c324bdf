"""
Domains: several sets of data to train on, each with `dataset` keys of its own.

    dataset:
      type: unpaired
      format: nifti
      image_shape: [128, 128]
      domains:
        brain: {dir: {train: brain/train, valid: brain/valid}}
        chest: {dir: {train: chest/train}, format: png, weight: 2.0}
"""

from collections.abc import Mapping
from typing import Any

from deepreg_meta.config.adapt_schema import AlignConfig
from deepreg_meta.config.dataset_rules import check_dataset
from deepreg_meta.config.dataset_schema import SHAPE_KEYS, DatasetConfig, DomainConfig
from deepreg_meta.config.findings import Findings, Key, parse_section, show

KEY: Key = ("dataset", "domains")
_NOT_INHERITED = ("domains", "dir", "phantom")
_OPTIONAL = ("dir", "grid", "weight")  # whose null is the default


def parse_domains(
    raw: Mapping[str, Any], dataset: DatasetConfig, findings: Findings
) -> dict[str, DomainConfig]:
    """
    Read the domains: what `dataset` says, with the keys of each in its place.

    A key of a domain replaces that of `dataset` whole; the sides of its images are
    those of `dataset`, whatever the types of the two are called.

    :param raw: the section `dataset`.
    :param dataset: its typed form.
    :param findings: receives the errors.
    :return: the domains without errors by name; empty where there are none.
    """
    found = {}
    for name, entry in (dataset.domains or {}).items():
        own = findings.within((*KEY, name))
        if not isinstance(entry, Mapping):
            findings.error(
                (*KEY, name),
                f"expected a mapping of keys to values, got {show(entry)}.",
            )
            continue
        known = [
            k for k in DomainConfig.model_fields if k not in ("domains", "phantom")
        ]
        for key in entry:
            if key not in known:
                findings.unknown((*KEY, name, str(key)), known, fatal=True)
        given = {k: v for k, v in entry.items() if v is not None or k not in _OPTIONAL}
        inherited = {
            k: v
            for k, v in raw.items()
            if k not in _NOT_INHERITED and (v is not None or k not in _OPTIONAL)
        }
        if entry.get("labeled") is False:
            inherited.pop("labels", None)
        merged = {**_shapes(given, dataset), **inherited, **given}
        domain = parse_section(DomainConfig, merged, (*KEY, name), findings)
        if domain is not None:
            check_dataset(domain, True, own)
            if domain.type != "grouped":
                found[name] = domain
    return found


def _shapes(entry: Mapping[str, Any], dataset: DatasetConfig) -> dict[str, Any]:
    """Give a domain of another type of data the sides of the images of `dataset`."""
    kind = entry.get("type", dataset.type)
    sides = getattr(dataset, SHAPE_KEYS[dataset.type][-1])
    names = SHAPE_KEYS.get(kind, ()) if isinstance(kind, str) else ()
    return {name: list(sides) for name in names if sides and kind != dataset.type}


def check_domains(
    dataset: DatasetConfig,
    domains: Mapping[str, DomainConfig],
    align: AlignConfig,
    is_reptile: bool,
    findings: Findings,
) -> None:
    """
    Check the domains against the run that they are part of.

    :param dataset: the section.
    :param domains: of it, each of them good.
    :param align: the section.
    :param is_reptile: whether the method is ours; DeepReg's own know no domains.
    :param findings: receives the errors.
    """
    if dataset.domains is None:
        return
    if not is_reptile:
        findings.error(KEY, "expected null without train.method reptile, got domains.")
        return
    if dataset.folders("train"):
        findings.error(
            ("dataset", "dir", "train"),
            "expected null with dataset.domains, which have folders of their own, got "
            f"{show(list(dataset.folders('train')))}.",
        )
    sizes = _sizes(dataset)
    for name, domain in domains.items():
        key = (*KEY, name)
        if not domain.folders("train"):
            findings.error((*key, "dir", "train"), "expected a folder, got none.")
        if domain.folders("test"):
            findings.error(
                (*key, "dir", "test"),
                "expected null, since tests are those of dataset.dir.test, got "
                f"{show(list(domain.folders('test')))}.",
            )
        if _sizes(domain) != sizes:
            findings.error(
                key,
                f"expected moving and fixed images of the sides {show(sizes)} of "
                f"`dataset`, which one network takes, got {show(_sizes(domain))}.",
            )
        if domain.labeled and not dataset.labeled:
            findings.error(
                (*key, "labeled"),
                "expected false with dataset.labeled false, got true. Set "
                "dataset.labeled: true, and labeled: false for domains without labels.",
            )
        if align.mode in ("centroid", "sections") and not domain.labeled:
            findings.error(
                (*key, "labeled"),
                f"expected true with align.mode {align.mode}, which aligns by a label, "
                "got false.",
            )


def _sizes(dataset: DatasetConfig) -> list[list[int] | None]:
    """Return the sides of moving and fixed images."""
    names = SHAPE_KEYS[dataset.type]
    shapes = [getattr(dataset, name) for name in (names[0], names[-1])]
    return [None if shape is None else list(shape) for shape in shapes]
