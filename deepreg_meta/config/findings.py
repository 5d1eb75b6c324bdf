"""
The findings about a configuration, collected so that the user meets all of them at
once: each key against its section's model, unknown keys against the known ones.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from deepreg_meta.config.dataset_schema import SHAPE_KEYS, DatasetConfig
from deepreg_meta.config.loss_schema import LossConfig
from deepreg_meta.config.section import RuleError, Section
from deepreg_meta.config.train_schema import PreprocessConfig, TrainConfig

Key = tuple[str, ...]
# Keys that DeepReg 0.1.2 and its older form 0.1.1 read, beyond those of our models.
_GROUPED_KEYS = {"intra_group_prob", "intra_group_option", "sample_image_in_group"}
_OPTIMIZER_KEYS = {"name", "learning_rate", "epsilon", "amsgrad", "centered"}
_OPTIMIZER_KEYS |= {"beta_1", "beta_2", "rho", "momentum", "nesterov", "weight_decay"}
_OPTIMIZER_KEYS |= {"clipnorm", "clipvalue", "global_clipnorm", "jit_compile"}
_OPTIMIZER_KEYS |= {"use_ema", "ema_momentum", "ema_overwrite_frequency"}
_OPTIMIZER_KEYS |= {"initial_accumulator_value"}
# Common names that no string distance brings to ours.
_ALIASES = {"lr": "learning_rate"}
_ALIASES |= dict.fromkeys(("float16", "fp16", "half"), "mixed_float16")
_ALIASES |= dict.fromkeys(("bfloat16", "bf16"), "mixed_bfloat16")
_TOP_KEYS = {"dataset", "train", "align", "adapt"}


def show(value: Any) -> str:
    """Write a value as its user wrote it in YAML, at most 80 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def suggest(word: str, known: Iterable[str]) -> str | None:
    """
    Find the known word that a misspelt one most likely meant.

    :param word: what the user wrote.
    :param known: the words that exist.
    :return: the nearest known word, or None where none is near.
    """
    word = _ALIASES.get(str(word).lower(), str(word).lower())
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word, sorted(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def dotted(key: Key) -> str:
    """Join a key's parts as in `train.meta.inner_steps`."""
    return ".".join(str(part) for part in key)


def lookup(data: Any, key: Key) -> Any:
    """
    Fetch the value of a key.

    :param data: nested mappings.
    :param key: parts of the key.
    :return: the value, or None where a part is missing.
    """
    for part in key:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


class Findings:
    """
    The errors and warnings about one configuration.

    :param origins: for every key, and every mapping on the way to it, the words that
        tell who set it last, such as "in meta.yaml".
    :param default_origin: the words for a key that nobody set.
    """

    def __init__(self, origins: Mapping[Key, str], default_origin: str) -> None:
        self._origins = dict(origins)
        self._default_origin = default_origin
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def locate(self, key: Key) -> str:
        """Say where a key was set, by the nearest mapping around it that was."""
        for end in range(len(key), 0, -1):
            if key[:end] in self._origins:
                return self._origins[key[:end]]
        return self._default_origin

    def error(self, key: Key, text: str) -> None:
        """Record what forbids the run: `text` follows the key and its origin."""
        line = f"{dotted(key)} {self.locate(key)}: {text}"
        if line not in self.errors:
            self.errors.append(line)

    def warn(self, key: Key, text: str) -> None:
        """Record what the user should know and the run survives."""
        self.warnings.append(f"{dotted(key)} {self.locate(key)}: {text}")

    def within(self, section: Key) -> "Findings":
        """
        Return findings about a section that stands for `dataset` elsewhere.

        :param section: where it stands; keys of `dataset` are named as its own.
        """
        return _Within(self, section)

    def unknown(self, key: Key, known: Iterable[str], *, fatal: bool) -> None:
        """Record a key that nobody reads, with the known key nearest to it."""
        near = suggest(key[-1], known)
        help_text = (
            f"Did you mean `{near}`?" if near else f"Known: {', '.join(sorted(known))}."
        )
        record = self.error if fatal else self.warn
        record(key, f"unknown key. {help_text}")


class _Within(Findings):
    """Findings that are handed on under other keys."""

    def __init__(self, outer: Findings, section: Key) -> None:
        super().__init__(outer._origins, outer._default_origin)
        self._section, self.errors, self.warnings = (
            section,
            outer.errors,
            outer.warnings,
        )

    def error(self, key: Key, text: str) -> None:
        super().error(self._moved(key), text)

    def warn(self, key: Key, text: str) -> None:
        super().warn(self._moved(key), text)

    def _moved(self, key: Key) -> Key:
        return (*self._section, *key[1:]) if key[:1] == ("dataset",) else key


# ---- one section against its model ----


def parse_section(
    model: type[Section], data: Any, key: Key, findings: Findings
) -> Any | None:
    """
    Validate one section and translate pydantic's errors into ours.

    :param model: the section's model.
    :param data: what the user gave.
    :param key: where the section stands in the configuration.
    :param findings: receives the errors.
    :return: the section, or None after an error.
    """
    try:
        return model.model_validate(data)
    except ValidationError as err:
        for item in err.errors():
            _explain(model, data, key, item, findings)
    return None


def _explain(
    model: type[BaseModel],
    data: Any,
    key: Key,
    item: Mapping[str, Any],
    findings: Findings,
) -> None:
    """Turn one error of pydantic into "<key> in <file>: expected ..., got ...."."""
    place = _follow(model, data, item["loc"])
    here = (*key, *place.parts)
    if item["type"] == "extra_forbidden":
        known = place.section.model_fields if place.section else ()
        findings.unknown((*here, str(item["loc"][-1])), known, fatal=True)
        return
    field = place.field
    rule = field.description if field else "a mapping of keys to values"
    if place.is_missing:
        findings.error(here, f"missing, expected {rule}.")
        return
    error = item.get("ctx", {}).get("error")
    rule = str(error) if isinstance(error, RuleError) else rule
    got = show(place.value)
    findings.error(here, f"expected {rule}, got {got}.{_advice(field, place.value)}")


class _Place(NamedTuple):
    """Where an error lies: in the user's words, and in ours."""

    parts: tuple[str, ...]
    value: Any
    field: FieldInfo | None
    section: type[BaseModel] | None
    is_missing: bool = False


def _follow(model: type[BaseModel], data: Any, loc: Iterable[str | int]) -> _Place:
    """Go from a section to where pydantic met an error, in what the user gave."""
    place = _Place((), data, None, model)
    for part in loc:
        parts, value, field, section, _ = place
        if section is None or place.is_missing:
            break
        if isinstance(part, int):  # an element of a list of sections
            if not isinstance(value, (list, tuple)):
                break
            place = _Place((*parts, str(part)), value[part], field, section)
            continue
        if part not in section.model_fields:
            break
        field = section.model_fields[part]
        section = _nested_model(field.annotation)
        if not isinstance(value, Mapping):
            # a short form: the user wrote `align: center`, not `align.mode`
            place = _Place(parts, value, field, section)
        else:
            is_missing = part not in value
            place = _Place((*parts, part), value.get(part), field, section, is_missing)
    return place


def _advice(field: FieldInfo | None, value: Any) -> str:
    """Say what to do instead, where the rule alone does not tell."""
    if field is None or not isinstance(field.json_schema_extra, dict):
        return ""
    extra: dict[str, Any] = field.json_schema_extra
    advice = f" {extra['fix']}" if extra["fix"] else ""
    if isinstance(value, str) and field.annotation in (int, float):
        advice += " Write a number without quotes."
    choices = extra["choices"] or get_args(field.annotation)
    if isinstance(value, str) and all(isinstance(choice, str) for choice in choices):
        near = suggest(value, choices)
        advice += f" Did you mean `{near}`?" if near else ""
    return advice


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    """Find the section inside a field's type: optional or not, alone or in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_nested_model(part) for part in get_args(annotation))
    return next((section for section in found if section), None)


# ---- keys that nobody reads ----


def check_known_keys(raw: Mapping, is_reptile: bool, findings: Findings) -> None:
    """
    Judge the unknown keys of DeepReg's sections.

    DeepReg passes over them, so with its own methods they are warnings. For method
    reptile they are errors: they would be without effect.

    :param raw: the merged configuration.
    :param is_reptile: whether the method is ours.
    :param findings: receives errors and warnings.
    """
    kind = lookup(raw, ("dataset", "type"))
    dataset = set(DatasetConfig.model_fields)
    if kind == "grouped":
        dataset |= _GROUPED_KEYS
    _warn_unused_shapes(raw, str(kind), findings)
    train, loss = set(TrainConfig.model_fields), set(LossConfig.model_fields)
    if not is_reptile:  # the sections of DeepReg 0.1.1
        train, loss = train | {"model"}, loss | {"dissimilarity"}
    sections: list[tuple[Key, set[str]]] = [
        ((), _TOP_KEYS),
        (("dataset",), dataset),
        (("train",), train),
        (("train", "loss"), loss),
        (("train", "preprocess"), set(PreprocessConfig.model_fields)),
    ]
    if is_reptile:  # those of DeepReg 0.1.1 nest further and are not judged
        sections.append((("train", "optimizer"), _OPTIMIZER_KEYS))
    for section, known in sections:
        data = lookup(raw, section)
        for name in data if isinstance(data, Mapping) else ():
            if name not in known:
                findings.unknown((*section, str(name)), known, fatal=is_reptile)
    optimizer = lookup(raw, ("adapt", "optimizer"))
    for name in optimizer if isinstance(optimizer, Mapping) else ():
        if name not in _OPTIMIZER_KEYS:
            key = ("adapt", "optimizer", str(name))
            findings.unknown(key, _OPTIMIZER_KEYS, fatal=True)


def _warn_unused_shapes(raw: Mapping, kind: str, findings: Findings) -> None:
    """Name the grids of another type of data, such as a merged file may leave."""
    shapes = set().union(*SHAPE_KEYS.values()) - set(SHAPE_KEYS.get(kind, ()))
    for name in sorted(shapes) if kind in SHAPE_KEYS else ():
        if lookup(raw, ("dataset", name)) is not None:
            used = ", ".join(SHAPE_KEYS[kind])
            findings.warn(
                ("dataset", name),
                f"not used with dataset.type {kind}, which has {used}.",
            )
