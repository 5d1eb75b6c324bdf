"""The data of a run: the folders of the configuration, or the embedded phantom."""

import logging

from tqdm import tqdm

from deepreg_meta.config import ConfigError, RunConfig, check_paths
from deepreg_meta.dataset import phantom
from deepreg_meta.dataset.domains import Domains
from deepreg_meta.dataset.tasks import CaseSet, load_case_set
from deepreg_meta.dataset.volume_check import DataError

logger = logging.getLogger(__name__)


def phantom_folder(config: RunConfig) -> str:
    """
    Generate the phantom of a configuration, unless it is there already.

    :param config: with `dataset.phantom`.
    :return: folder with train, valid and test.
    """
    dataset, options = config.dataset, config.phantom
    counts = (options.num_train, options.num_valid, options.num_test)
    folder = phantom.default_phantom_dir(
        dict(
            type=dataset.type,
            counts=counts,
            seed=options.seed,
            moving_shape=dataset.moving_shape,
            fixed_shape=dataset.fixed_shape,
        )
    )
    logger.info(
        "No data folder is configured: using the generated phantom in %s. To use your "
        "own images, set dataset.dir.train, .valid and .test (docs/data.md).",
        folder,
    )
    if dataset.type == "paired":
        phantom.write_dataset(
            folder,
            *counts,
            seed=options.seed,
            moving_shape=dataset.moving_shape,
            fixed_shape=dataset.fixed_shape,
        )
    else:
        phantom.write_unpaired_dataset(
            folder, *counts, seed=options.seed, image_shape=dataset.fixed_shape
        )
    return str(folder)


def open_cases(config: RunConfig, modes: tuple[str, ...]) -> dict[str, CaseSet | None]:
    """
    Open the splits that a run needs and check every file of theirs.

    :param config: of the run.
    :param modes: of train, valid, test.
    :return: the cases by mode; None for a split without a folder.
    :raises ValueError: with what is missing of all splits together, or with all
        problems of the files of a split.
    """
    problems: list[str] = []
    for mode in modes:
        try:
            check_paths(config, mode)
        except ConfigError as err:
            problems += err.problems
    if problems:
        raise ConfigError(problems)
    root = phantom_folder(config) if config.uses_phantom else None
    cases: dict[str, CaseSet | None] = {}
    for mode in modes:
        if root is not None and not getattr(config.phantom, f"num_{mode}"):
            cases[mode] = None
            continue
        dirs = None if root is None else f"{root}/{mode}"
        cases[mode] = split = load_case_set(config, mode, dirs)
        if split is not None:
            _validate(split, mode)
    return cases


def open_training(config: RunConfig) -> dict[str, CaseSet | Domains | None]:
    """
    Open what a run trains on and is validated on, and check every file.

    :param config: of the run.
    :return: the cases of `train` and `valid`; None for a split without a folder. With
        `dataset.domains`, training is on all of them, and validation on their `valid`
        and that of `dataset.dir`.
    :raises ValueError: as `open_cases` does.
    """
    if not config.domains:
        return {**open_cases(config, ("train", "valid"))}
    problems: list[str] = []
    parts: dict[str, dict[str, RunConfig]] = {"train": {}, "valid": {}}
    for name in config.domains:
        own = config.domain(name)
        for mode, found in parts.items():
            if own.dataset.folders(mode):
                found[name] = own
    if config.dataset.folders("valid"):
        parts["valid"][f"{config.data_section}.dir"] = config
    for mode, found in parts.items():
        for own in found.values():
            try:
                check_paths(own, mode)
            except ConfigError as err:
                problems += err.problems
    if problems:
        raise ConfigError(problems)
    return {mode: _open_domains(config, mode, found) for mode, found in parts.items()}


def _open_domains(
    config: RunConfig, mode: str, parts: dict[str, RunConfig]
) -> Domains | None:
    """Open and check a split of several domains; the problems of all come together."""
    cases: dict[str, CaseSet] = {}
    problems: list[str] = []
    for name, own in parts.items():
        split = load_case_set(own, mode)
        if split is None:
            continue
        try:
            _validate(split, f"{mode} of {name}")
        except DataError as err:
            problems.append(str(err))
        cases[name] = split
    if problems:
        raise DataError(f"{config.data_key('domains')}: cannot be used:", problems)
    weights = {name: domain.weight for name, domain in config.domains.items()}
    return Domains(cases, weights) if cases else None


def _validate(cases: CaseSet, mode: str) -> None:
    """Read and check every file of a split, with a bar that goes away."""
    with tqdm(desc=f"checking {mode}", unit="volume", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        cases.validate(progress)
