"""
The pairs of a Learn2Reg data set.

Source: github.com/MDL-UzL/L2R, evaluation/create_evaluation_config.py and
evaluation/L2RTest/evaluation.py at commit 00106df, for the names of files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepreg_meta.evaluate.learn2reg import field_stems, image_numbers, is_short_pair
from deepreg_meta.evaluate.protocol.pairs import (
    Files,
    Method,
    Pair,
    Pairs,
    default_methods,
    field_places,
)

SPLITS = ("val", "test")
_METRICS = ("sdlogj", "dice", "hd95", "tre")
_KINDS = ("keypoints", "landmarks")


def read_challenge(
    path: Path,
    data: Path,
    fields: Path,
    split: str | None = None,
    labels: tuple[int, ...] | None = None,
    masked: bool = False,
) -> Pairs:
    """
    Read the pairs of the challenge.

    :param path: a data set's `<TASK>_dataset.json`, or an `*_evaluation_config.json`,
        which also states metrics, labels, shape and masks.
    :param data: folder that the paths start from.
    :param fields: folder of the submission.
    :param split: of a data set: val or test; None is val, or test where that is alone.
    :param labels: values that count; None takes those of the configuration, else all.
    :param masked: SDlogJ inside the masks alone, whatever the configuration says.
    :return: the pairs; of a data set, with the labels and points found beside its
        images (`labelsTr`, `keypointsTr`, `landmarksTr` for `imagesTr`).
    :raises ValueError: for a file of another form.
    """
    content = _load(path)
    is_config = "eval_pairs" in content
    entries = content["eval_pairs"] if is_config else _split(content, split, path)
    masked = masked or bool(content.get("masked_evaluation"))
    methods = _methods(content, labels, path) if is_config else ()
    pairs = tuple(
        _pair(_names(entry, path), data, fields, masked, methods) for entry in entries
    )
    return Pairs(
        name=str(content.get("task_name") or content.get("name") or path.stem),
        pairs=pairs,
        shape=_shape(content),
        methods=methods or default_methods(pairs, labels),
    )


def _load(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as err:
        raise ValueError(f"{path}: cannot be read as JSON ({err}).") from err
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content)}.")
    return content


def _split(content: Mapping, split: str | None, path: Path) -> list:
    there = [name for name in SPLITS if content.get(f"registration_{name}")]
    chosen = split or next(iter(there), None)
    if chosen not in there:
        raise ValueError(
            f"{path}: expected a list of pairs in {'registration_' + (split or 'val')}"
            f"{'' if split else ' or registration_test'}, or eval_pairs of an "
            f"evaluation configuration; there are {', '.join(content)}."
        )
    return content[f"registration_{chosen}"]


def _methods(
    content: Mapping, labels: tuple[int, ...] | None, path: Path
) -> tuple[Method, ...]:
    """Read the metrics of a configuration, version 0.2 and later."""
    listed = content.get("evaluation_methods")
    known = isinstance(listed, list) and all(
        isinstance(entry, dict) and entry.get("metric") in _METRICS for entry in listed
    )
    if not known or not listed:
        raise ValueError(
            f"{path}: expected evaluation_methods as a list of metrics out of "
            f"{', '.join(_METRICS)} (eval_config_version 0.2 and later), got "
            f"{listed!r}."
        )
    return tuple(
        Method(
            name=str(entry["name"]),
            metric=entry["metric"],
            labels=labels or tuple(int(n) for n in entry.get("labels", ())) or None,
            points=str(entry.get("dest", "")),
        )
        for entry in listed
    )


def _shape(content: Mapping) -> tuple[int, ...] | None:
    if "expected_shape" in content:
        return tuple(content["expected_shape"])
    stated = content.get("tensorImageShape")
    if isinstance(stated, dict) and stated.get("0"):
        return (*stated["0"], 3)
    return None


def _names(entry: Any, path: Path) -> tuple[str, str]:
    names = entry.get("fixed", ""), entry.get("moving", "")
    if None in map(image_numbers, names):
        raise ValueError(
            f"{path}: expected pairs of images with names that end in subject and "
            f"modality, such as LungCT_0021_0000.nii.gz, got {entry}."
        )
    return names


def _pair(
    names: tuple[str, str],
    data: Path,
    fields: Path,
    masked: bool,
    methods: tuple[Method, ...],
) -> Pair:
    """
    Find the files of a pair: those that the metrics need, else those that exist.

    Points between modalities are numbered by both, `keypoints01Tr`.
    """
    numbers = [image_numbers(name) or ("", "") for name in names]
    modalities = [modality for _, modality in numbers]

    def beside(kind: str, suffix: str = ".nii.gz") -> Files:
        fixed, moving = (
            data / name.replace("images", kind).replace(".nii.gz", suffix)
            for name in names
        )
        return fixed, moving

    def is_wanted(files: Files, metrics: tuple[str, ...], kind: str = "") -> bool:
        if not methods:
            return any(path.is_file() for path in files)
        return any(m.metric in metrics and m.points == kind for m in methods)

    points = {}
    for kind in dict.fromkeys((*_KINDS, *(m.points for m in methods if m.points))):
        between = kind == "keypoints" and not is_short_pair(*modalities)
        suffix = "".join(str(int(n)) for n in sorted(modalities)) if between else ""
        files = beside(kind + suffix, ".csv")
        if is_wanted(files, ("tre",), kind):
            points[kind] = files
    labels = beside("labels")
    return Pair(
        name="<--".join("_".join(number) for number in numbers),
        images=beside("images"),
        fields=field_places(fields, field_stems(*names)),
        labels=labels if is_wanted(labels, ("dice", "hd95")) else None,
        points=points,
        mask=beside("masks")[0] if masked else None,
    )
