"""
The cases of one split, read through DeepReg's loaders and kept in memory.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from os import path as ospath
from typing import Any

import numpy as np

from deepreg_meta.config import RunConfig, check_paths
from deepreg_meta.dataset.cache import Key, VolumeCache
from deepreg_meta.dataset.case import Case, check_pair, make_case
from deepreg_meta.dataset.case_names import unique_names
from deepreg_meta.dataset.partner import check_partners
from deepreg_meta.dataset.place_check import check_overlap
from deepreg_meta.dataset.reader import VolumeReader
from deepreg_meta.dataset.target import build_targets
from deepreg_meta.dataset.volume import Facts, Volume
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.stack import require_stack

Progress = Callable[[int, int], None]


class CaseSet:
    """
    The cases of one split; a sequence of `Case`, read when asked for.

    Paired data: case i is pair i in file order. Unpaired data: the set holds images,
    the cases of the sequence are DeepReg's fixed pairs for evaluation, and training
    draws its own with `draw_pair`.

        cases = load_case_set(config, "train")
        cases.validate()
        case = cases.get_pair(*cases.draw_pair(np.random.default_rng(0)))

    :param loader: DeepReg's paired or unpaired data loader.
    :param config: the validated configuration.
    :param mode: train, valid or test.
    """

    def __init__(self, loader: Any, config: RunConfig, mode: str) -> None:
        dataset, targets = config.dataset, build_targets(config)
        self.mode, self.is_paired = mode, dataset.type == "paired"
        # whether there may be voxels that losses leave out
        self.ignores_padding = targets["fixed"].ignores_padding
        self._loader, self._config = loader, config
        self._heading = config.data_key(f"dir.{mode}")
        fixed = VolumeReader(
            loader.loader_fixed_image, loader.loader_fixed_label, targets["fixed"]
        )
        moving = VolumeReader(
            loader.loader_moving_image,
            loader.loader_moving_label,
            targets["moving"],
            read_fixed=fixed.read_intensities,
        )
        self._readers = {"moving": moving}
        if self.is_paired:  # else any image may be either: there is one kind
            self._readers["fixed"] = fixed
        self._cache = VolumeCache(dataset.cache_gb * 1e9)
        self._facts: dict[Key, Facts] = {}
        self._selected: Sequence[int] = range(self.num_images)
        self._pairs = self.pairs()
        self.image_names = unique_names(loader.loader_moving_image.get_data_ids())
        self.names = tuple(self._name(i, j) for i, j in self._pairs)

    @property
    def num_images(self) -> int:
        """Number of images; of paired data, of moving images."""
        return self._readers["moving"].num_images

    @property
    def num_labels_max(self) -> int:
        """The largest number of label channels of any case; 0 without labels."""
        reader = self._readers["moving"]
        return max(reader.num_labels(index) for index in range(self.num_images))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Case:
        return self.get_pair(*self._pairs[index])

    def __iter__(self) -> Iterator[Case]:
        return (self[index] for index in range(len(self)))

    def pairs(self, seed: int | None = 0) -> list[tuple[int, int]]:
        """
        List (moving, fixed) for every case of one pass.

        :param seed: of the order in which DeepReg joins unpaired images, 0 in its
            evaluation; None draws a new order. Paired data has no choice.
        :return: one pair of indices per case; an odd image out is left out.
        """
        if self.is_paired:
            return [(index, index) for index in self._selected]
        order = list(range(self.num_images))
        random.Random(seed).shuffle(order)
        return list(zip(order[::2], order[1::2], strict=False))

    def subset(self, indices: Sequence[int]) -> "CaseSet":
        """
        Take some of the cases of paired data, for folds; files and memory are shared.

        :param indices: into this sequence.
        :return: a set of these cases.
        :raises ValueError: for unpaired data, or an index that is not there.
        """
        if not self.is_paired:
            raise ValueError("subset: expected paired data, got unpaired.")
        if not all(0 <= index < len(self) for index in indices):
            raise ValueError(
                f"subset: expected indices in [0, {len(self)}), got {list(indices)}."
            )
        chosen = copy.copy(self)
        chosen._selected = [self._pairs[index][0] for index in indices]
        chosen._pairs = chosen.pairs()
        chosen.names = tuple(self._name(i, j) for i, j in chosen._pairs)
        return chosen

    def draw_pair(self, rng: np.random.Generator) -> tuple[int, int]:
        """
        Draw the (moving, fixed) of one training task, all pairs being equally likely.

        :param rng: source of randomness.
        :return: two indices: equal for paired data, different for unpaired.
        """
        if self.is_paired:
            return self._pairs[int(rng.integers(len(self._pairs)))]
        moving = int(rng.integers(self.num_images))
        fixed = int(rng.integers(self.num_images - 1))
        return moving, fixed + (fixed >= moving)

    def get_pair(self, moving: int, fixed: int) -> Case:
        """
        Read a case, from memory where it is there.

        :param moving: index of the moving image.
        :param fixed: index of the fixed image; the same one for paired data.
        :return: the case; its arrays are read-only.
        :raises DataError: when one of its files cannot be used.
        """
        if self.is_paired and moving != fixed:
            raise ValueError(
                "get_pair: expected the same index twice for paired data, got "
                f"{moving} and {fixed}."
            )
        first, second = self._volume("moving", moving), self._volume("fixed", fixed)
        problems = check_pair(self._config, first, second)
        if problems:
            raise DataError(f"{self._heading}: a case cannot be used:", problems)
        indices = (moving,) if self.is_paired else (moving, fixed)
        return make_case(self._name(moving, fixed), indices, first, second)

    def validate(self, progress: Progress | None = None) -> None:
        """
        Read every file once and check it; what fits in memory stays there.

        :param progress: called with (volumes done, volumes in all) after each volume.
        :raises DataError: with the problems of all files together.
        """
        problems: list[str] = []
        num_done, num_all = 0, len(self._readers) * self.num_images
        reference: Volume | None = None
        for index in range(self.num_images):
            volumes = []
            for role in self._readers:
                try:
                    volumes.append(self._volume(role, index))
                except DataError as err:
                    # a moving image that is matched to its pair names that one too
                    problems += [p for p in err.problems if p not in problems]
                num_done += 1
                if progress is not None:
                    progress(num_done, num_all)
            if len(volumes) < len(self._readers):
                continue
            # an unpaired image may meet any other: all are compared with the first
            reference = reference or volumes[0]
            fixed = volumes[1] if self.is_paired else reference
            problems += check_pair(self._config, volumes[0], fixed)
        problems += [p for p in self._check_places() if p not in problems]
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise DataError(f"{self._heading}: {count} in the files:", problems)

    def facts(self, role: str) -> list[Facts]:
        """
        Tell what is worth remembering of the volumes of this set.

        :param role: moving or fixed; of unpaired data both are the same.
        :return: an element for each volume. One that was never read is read now.
        :raises DataError: when its files cannot be used.
        """
        role = role if role in self._readers else "moving"
        found = []
        for index in self._selected:
            if (role, index) not in self._facts:
                self._volume(role, index)
            found.append(self._facts[role, index])
        return found

    def close(self) -> None:
        """Close the files that stayed open (HDF5)."""
        self._loader.close()

    def _volume(self, role: str, index: int) -> Volume:
        role = role if role in self._readers else "moving"
        reader = self._readers[role]
        volume = self._cache.get((role, index), lambda: reader.read(index))
        self._facts[role, index] = volume.facts
        return volume

    def _check_places(self) -> list[str]:
        """Check any two images that may meet for some space that both are in."""
        if self.is_paired or self._config.align.mode != "affine":
            return []
        sources = [facts.source for facts in self._facts.values()]
        return [
            problem
            for fixed, moving in combinations(sources, 2)
            for problem in check_overlap(moving, fixed)
        ]

    def _name(self, moving: int, fixed: int) -> str:
        name = self.image_names[moving]
        return name if self.is_paired else f"{name}_to_{self.image_names[fixed]}"


def load_case_set(
    config: RunConfig, mode: str, dirs: str | Sequence[str] | None = None
) -> CaseSet | None:
    """
    Open the cases of one split. Voxels are read later, see `CaseSet.validate`.

    :param config: the validated configuration.
    :param mode: train, valid or test.
    :param dirs: folders in place of those of `dataset.dir`, such as a phantom's.
    :return: the cases, or None where the split has no folder.
    :raises ValueError: for grouped data, which only DeepReg's own methods read.
    :raises ConfigError: when a folder is missing.
    :raises DataError: when files are missing, or there are too few.
    """
    if config.dataset.type == "grouped":
        raise ValueError(
            f"{config.data_key('type')}: expected paired or "
            "unpaired for adaptation and Reptile, got 'grouped'."
        )
    folders = [dirs] if isinstance(dirs, str) else list(dirs or ())
    folders = [ospath.expanduser(str(f)) for f in folders]
    folders = folders or list(config.dataset.folders(mode))
    if not folders:
        return None
    check_paths(config, mode, folders)
    heading = f"{config.data_key(f'dir.{mode}')}:"
    check_partners(config.dataset, folders, heading)
    require_stack()
    from deepreg.dataset.load import get_data_loader

    import deepreg_meta.dataset.picture_loader  # noqa: F401  registers `format: png`

    data_config = config.deepreg_config()["dataset"]
    data_config["dir"] = {mode: folders}
    return CaseSet(get_data_loader(data_config, mode), config, mode)
