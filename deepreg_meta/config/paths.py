"""Whether the folders that a configuration names hold what the loader asks for."""

from collections.abc import Sequence
from pathlib import Path

from deepreg_meta.config.files import PathLike
from deepreg_meta.config.run import ConfigError, RunConfig

# What each format calls the files of one kind of volume within a folder.
_ENTRY = {"nifti": "{}", "h5": "{}.h5", "png": "{}"}


def check_paths(
    config: RunConfig, mode: str, folders: Sequence[PathLike] | None = None
) -> None:
    """
    Check that the folders of one split exist, with the sub-folders (or HDF5 files) that
    DeepReg's loader will ask for.

    :param config: the configuration.
    :param mode: train, valid or test; a split that is not given is passed over.
    :param folders: folders in place of those of `dataset.dir`, such as a phantom's.
    :raises ConfigError: naming the key, the path and what is missing, a line for each.
    """
    dataset, problems = config.dataset, []
    prefix = f"{config.data_key(f'dir.{mode}')}: expected"
    for folder in dataset.folders(mode) if folders is None else folders:
        if not Path(folder).is_dir():
            problems.append(f"{prefix} an existing folder, got {folder}.")
            continue
        for kind in dataset.volume_kinds:
            entry = _ENTRY[dataset.format].format(kind)
            if not (Path(folder) / entry).exists():
                problems.append(f"{prefix} {entry} in the folder {folder}, found none.")
    if problems:
        raise ConfigError(problems)
