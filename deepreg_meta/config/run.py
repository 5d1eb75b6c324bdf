"""
One run's configuration, validated and frozen: what the rest of the package sees
in place of the YAML's own mapping.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from deepreg_meta.config.adapt_schema import (
    AdaptConfig,
    AlignConfig,
    SparseFramesConfig,
)
from deepreg_meta.config.dataset_schema import (
    MODES,
    SHAPE_KEYS,
    DatasetConfig,
    DomainConfig,
    PhantomConfig,
)
from deepreg_meta.config.files import PathLike
from deepreg_meta.config.findings import Findings, Key
from deepreg_meta.config.train_schema import MetaConfig, TrainConfig

METHOD = "reptile"
# Keys of ours within DeepReg's sections, which DeepReg's own code must not see.
OUR_DATASET_KEYS = (
    *("phantom", "labels", "spacing_mm", "grid", "intensity"),
    *("cache_gb", "domains"),
)
_OUR_TRAIN_KEYS = ("seed", "precision", "recompute", "scales", "meta")


class ConfigError(ValueError):
    """All that is wrong with a configuration, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class RunConfig:
    """
    One validated configuration.

    `raw` is the merged mapping with the defaults of our sections written out: saved and
    loaded again it gives the same configuration. `train` and `meta` are None for
    DeepReg's own methods, whose `train` only DeepReg reads.
    """

    raw: dict[str, Any]
    method: str
    dataset: DatasetConfig
    train: TrainConfig | None
    align: AlignConfig
    adapt: AdaptConfig
    sparse_frames: SparseFramesConfig | None
    seed: int
    source: tuple[str, ...] = field(compare=False)
    origins: Mapping[Key, str] = field(repr=False, compare=False)
    domains: Mapping[str, DomainConfig] = field(default_factory=dict)
    data_section: str = "dataset"  # where `dataset` stands, for messages

    @property
    def is_reptile(self) -> bool:
        """Whether the run is meta-learning."""
        return self.method == METHOD

    @property
    def meta(self) -> MetaConfig | None:
        """`train.meta`, or None for DeepReg's own methods."""
        return self.train.meta if self.train else None

    @property
    def reptile_train(self) -> TrainConfig:
        """`train` of a run that is meta-learning."""
        if self.train is None:
            raise RuntimeError(f"train.method {self.method} has no section of Reptile.")
        return self.train

    @property
    def phantom(self) -> PhantomConfig:
        """`dataset.phantom` of a run that has one."""
        if self.dataset.phantom is None:
            raise RuntimeError("The run has no dataset.phantom.")
        return self.dataset.phantom

    @property
    def uses_phantom(self) -> bool:
        """Whether the cases are generated, because no folder is given."""
        given = any(self.dataset.folders(mode) for mode in MODES)
        return self.dataset.phantom is not None and not given and not self.domains

    def domain(self, name: str) -> "RunConfig":
        """
        Return the configuration of one domain: this one, with its `dataset`.

        :param name: of one of `domains`.
        """
        dataset, section = self.domains[name], f"dataset.domains.{name}"
        keys = {
            key: value for key, value in dataset if key not in ("weight", "domains")
        }
        typed = DatasetConfig(**keys)
        inherited = {
            key: value
            for key, value in self.raw["dataset"].items()
            if key not in ("domains", "dir", "phantom")
        }
        own = typed.model_dump(mode="json")
        raw = {**self.raw, "dataset": {**inherited, **own, "phantom": None}}
        return replace(self, raw=raw, dataset=typed, domains={}, data_section=section)

    def data_key(self, key: str) -> str:
        """
        Name a key of the data and who set it, for messages.

        :param key: within the section, such as dir.train.
        :return: words such as "dataset.dir.train in meta.yaml".
        """
        full = f"{self.data_section}.{key}"
        return f"{full} {self.locate(full)}"

    @property
    def adapt_optimizer(self) -> dict[str, Any]:
        """Name, learning_rate and further arguments of the optimiser of adaptation."""
        own = self.adapt.optimizer
        return own.model_dump() if own else deepcopy(self.raw["train"]["optimizer"])

    @property
    def adapt_frames(self) -> tuple[int, int] | None:
        """(F_min, F_max) of the sweep in adaptation; None without sparse frames."""
        if self.sparse_frames is None:
            return None
        return self.adapt.frames or self.sparse_frames.frames

    def locate(self, key: str) -> str:
        """
        Tell who set a key, for messages about its value that come later.

        :param key: dotted, such as dataset.dir.train.
        :return: words such as "in meta.yaml".
        """
        default = f"in {', '.join(self.source)}" if self.source else ""
        return Findings(self.origins, default).locate(tuple(key.split(".")))

    def deepreg_config(self) -> dict[str, Any]:
        """
        Give what DeepReg's own code may see.

        :return: a copy without our keys; for DeepReg's own methods also brought up to
            date from the older form 0.1.1 by DeepReg, as its own commands do.
        """
        config = deepcopy(self.raw)
        for key in ("align", "adapt"):
            config.pop(key, None)
        for key in OUR_DATASET_KEYS:
            config["dataset"].pop(key, None)
        for name in SHAPE_KEYS[self.dataset.type]:  # DeepReg wants three sides
            config["dataset"][name] = list(getattr(self.dataset, name))
        for key in _OUR_TRAIN_KEYS:
            config["train"].pop(key, None)
        if self.is_reptile:
            used = SHAPE_KEYS[self.dataset.type]
            for name in set().union(*SHAPE_KEYS.values()).difference(used):
                config["dataset"].pop(name, None)  # DeepReg refuses it with this type
            return config
        from deepreg_meta.stack import require_stack

        require_stack()
        from deepreg.config.v011 import parse_v011

        return parse_v011(config)

    def dump(self, path: PathLike, header: str = "") -> None:
        """
        Write the configuration as YAML, whole or not at all.

        :param path: file to write; its folder exists.
        :param header: lines written as comments at its head, such as versions.
        """
        path = Path(path)
        comments = "".join(f"# {line}\n" for line in header.splitlines())
        # sort_keys=False: the order of dataset.labels is that of the label channels
        text = comments + yaml.safe_dump(self.raw, sort_keys=False)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide it from colleagues
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
