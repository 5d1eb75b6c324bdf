"""
Configuration files: YAML read strictly, merged left to right, with a note of who set
each key last.
"""

import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deepreg_meta.config.findings import Key, show

PathLike = str | os.PathLike


@dataclass(frozen=True)
class Merged:
    """
    Several files as one mapping.

    `origins` has, for every key and every mapping on the way to it, the words that tell
    who set it last, such as "in meta.yaml"; `problems` names the files that could not
    be used.
    """

    raw: dict[str, Any]
    origins: dict[Key, str]
    names: tuple[str, ...]
    problems: list[str] = field(default_factory=list)

    def update(self, update: Mapping[str, Any], origin: str) -> None:
        """Merge in place: mappings are merged, every other value is replaced."""
        _merge(self.raw, update, origin, self.origins)


def read_files(paths: PathLike | Sequence[PathLike]) -> Merged:
    """
    Read and merge YAML files, left to right.

    :param paths: files, ~ expanded. They are only read.
    :return: the merged mapping; what could not be read is among its problems.
    """
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    full = [Path(p).expanduser() for p in paths]
    names = [p.name for p in full]
    if len(set(names)) < len(names):  # the same name in two folders
        names = [str(p) for p in paths]
    merged = Merged({}, {}, tuple(names))
    for path, name in zip(full, names, strict=True):
        data, problem = _read(path, name)
        merged.problems.extend([problem] if problem else [])
        merged.update(data, f"in {name}")
    return merged


class _Loader(yaml.SafeLoader):
    """YAML as its users mean it: 1e-5 is a number, a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key `{key_node.value}` twice", key_node.start_mark
                )
            if isinstance(key_node.value, str) and key_node.value != "<<":
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _construct_tuple(loader: _Loader, node: yaml.SequenceNode) -> list:
    return loader.construct_sequence(node)


# YAML 1.1 reads 1e-5 as text: it wants 1.0e-5. Nobody means the text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
# DeepReg's own loader knows tuples, and so do the files that it saved.
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _construct_tuple)


def _read(path: Path, name: str) -> tuple[dict, str]:
    """Read one file; return its mapping and, if it cannot be used, the reason."""
    if path.suffix not in (".yaml", ".yml"):
        return {}, f"{name}: expected a file that ends with .yaml."
    if not path.is_file():
        return {}, f"{name}: no such file (looked in {path.parent.resolve()})."
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        return {}, f"{name}{line}: not valid YAML: {err.problem or err.context}."
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        return {}, f"{name}: not valid YAML: {err}."
    if not isinstance(data, dict):
        got = "an empty file" if data is None else show(data)
        return {}, f"{name}: expected a mapping of keys to values, got {got}."
    return data, ""


def _merge(
    base: dict, update: Mapping, origin: str, origins: dict[Key, str], key: Key = ()
) -> dict:
    """Merge `update` into `base` in place: mappings are merged, all else replaced."""
    for name, value in update.items():
        here = (*key, str(name))
        origins[here] = origin
        if isinstance(value, Mapping):
            inner = base.get(name)
            inner = inner if isinstance(inner, dict) else {}
            base[name] = _merge(inner, value, origin, origins, here)
        else:
            base[name] = deepcopy(value)
    return base
