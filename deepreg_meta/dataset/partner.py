"""
Every image with its partners: the files of a split compared by name.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from deepreg_meta.config.dataset_schema import DatasetConfig
from deepreg_meta.dataset.stored import file_path
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.stack import require_stack


def check_partners(
    dataset: DatasetConfig, folders: Sequence[str], heading: str
) -> None:
    """
    Check that every case has one file of each kind, and that there are enough of them.

    :param dataset: the section, of paired or unpaired data.
    :param folders: existing folders with their sub-folders (or HDF5 files).
    :param heading: words before the problems.
    :raises DataError: naming each file that stands alone.
    """
    require_stack()
    import deepreg.dataset.load  # noqa: F401  registers its file loaders
    from deepreg.registry import FILE_LOADER_CLASS, REGISTRY

    import deepreg_meta.dataset.picture_loader  # noqa: F401  registers ours

    file_loader = REGISTRY.get(category=FILE_LOADER_CLASS, key=dataset.format)
    loaders, problems = {}, []
    for kind in dataset.volume_kinds:
        try:
            loaders[kind] = file_loader(
                dir_paths=list(folders), name=kind, grouped=False
            )
        except (ValueError, OSError) as err:
            problems.append(
                f"{kind} in {', '.join(folders)}: no readable file ({err})."
            )
    ids = {kind: Counter(loader.get_data_ids()) for kind, loader in loaders.items()}
    problems += _find_orphans(loaders, ids)
    if not problems and dataset.type != "paired" and len(ids["images"]) < 2:
        problems.append(
            f"{', '.join(folders)}: expected at least 2 images to draw unpaired cases "
            f"from, got {len(ids['images'])}."
        )
    for loader in loaders.values():
        loader.close()
    if problems:
        raise DataError(heading, problems)


def _find_orphans(loaders: Mapping[str, Any], ids: Mapping[str, Counter]) -> list[str]:
    """Return a line for each case that lacks a file of some kind or has one twice."""
    problems = []
    for number, (kind, loader) in enumerate(loaders.items()):
        before = list(loaders)[:number]  # there, the case has been named already
        for index, case in enumerate(loader.get_data_ids()):
            missing = [other for other in loaders if case not in ids[other]]
            if missing and not any(case in ids[other] for other in before):
                problems.append(
                    f"{file_path(loader, index)}: expected a partner of the same name "
                    f"in {', '.join(missing)}, found none."
                )
        problems += [
            f"{kind}: expected one file named {case[1]} in {case[0]}, found {count}."
            for case, count in ids[kind].items()
            if count > 1
        ]
    return problems
