"""Find the results of several runs, name them, and put those of one split together."""

from collections.abc import Sequence
from pathlib import Path

from deepreg_meta.evaluate.page.run_results import (
    SPLITS,
    RunResults,
    find_results,
    read_results,
)
from deepreg_meta.evaluate.page.study import Study, make_study


def gather(
    runs: Sequence[str | Path],
    names: Sequence[str] | None = None,
    baseline: str | None = None,
) -> list[Study]:
    """
    Read runs and compare those of one split.

    :param runs: folders, see `find_results`.
    :param names: one for each run; None takes the names of the folders.
    :param baseline: see `make_study`.
    :return: one study for each split, in the order in which they are found.
    :raises ValueError: for names that do not fit, or results that cannot be used.
    :raises FileNotFoundError: for a folder that is not there.
    """
    folders = [find_results(run) for run in runs]
    names = _check_names(names, len(runs)) if names else names_of(folders)
    found: dict[str, list[RunResults]] = {}
    seen: set[Path] = set()
    for name, own in zip(names, folders, strict=True):
        for folder in own:
            if folder.resolve() in seen:
                raise ValueError(f"RUN: expected each folder once, got {folder} twice.")
            seen.add(folder.resolve())
            results = read_results(folder, _with_part(name, folder, own))
            found.setdefault(results.split, []).append(results)
    return [make_study(results, baseline) for results in found.values()]


def _check_names(names: Sequence[str], num_runs: int) -> list[str]:
    if len(names) != num_runs or len(set(names)) != num_runs:
        raise ValueError(
            f"--names: expected {num_runs} distinct names, one for each RUN, got "
            f"{', '.join(names)}."
        )
    return list(names)


def names_of(folders: Sequence[Sequence[Path]]) -> list[str]:
    """
    Name runs after their folders.

    :param folders: of the results of each run.
    :return: distinct names: the last parts of the paths that tell them apart. A part
        such as `test` names no run.
    """
    paths = []
    for own in folders:
        path = own[0].resolve()
        is_part = path.name in SPLITS or len(own) > 1
        paths.append((path.parent if is_part else path).parts)
    for length in range(1, max(len(parts) for parts in paths) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    # two splits of one run: the folder itself tells them
    return [
        f"{'/'.join(p[-1:])}/{own[0].name}"
        for p, own in zip(paths, folders, strict=True)
    ]


def _with_part(name: str, folder: Path, own: Sequence[Path]) -> str:
    """Tell results of one run apart that are of no split."""
    if len(own) == 1 or folder.name in SPLITS:
        return name
    return f"{name}/{folder.name}"
