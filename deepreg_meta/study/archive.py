"""Finished runs of a study in one file, to go on elsewhere or to keep its tables."""

import zipfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import yaml

from deepreg_meta.study.folder import (
    CONFIG,
    ROWS,
    RUNS,
    START,
    is_finished,
    run_folder,
    without_folders,
)
from deepreg_meta.study.schedule import Run

# of a run: what it was, how it was trained, what came of it; not its weights
KEPT = (CONFIG, START, "log.csv", ROWS)
TESTS = "test_*.yaml"  # what its tests set beside the configuration
_STAMP = (1980, 1, 1, 0, 0, 0)  # same runs, same bytes


def pack_runs(
    runs: Sequence[Run], output: Path, path: Path, extra: Sequence[str] = ()
) -> int:
    """
    Write the finished runs of a study into a ZIP file, without their weights.

    :param runs: of the plan; those that are not finished are left out.
    :param output: folder of the study.
    :param path: of the file, replaced at once when all is written.
    :param extra: names of files in the study's own folder, kept where they exist.
    :return: the number of runs in it.
    :raises ValueError: when no run is finished, or a folder holds another run.
    """
    done = [run for run in runs if is_finished(run, output)]
    if not done:
        raise ValueError(f"{output}: expected a study with a finished run, got none.")
    paths = [output / name for name in extra]
    for run in done:
        folder = run_folder(run, output)
        paths += [folder / name for name in KEPT]
        paths += sorted(folder.glob(TESTS))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.tmp")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in paths:
            if source.is_file():
                name = source.relative_to(output).as_posix()
                info = zipfile.ZipInfo(name, _STAMP)
                data = source.read_bytes()
                if source.suffix == ".yaml":
                    config = without_folders(yaml.safe_load(data))
                    data = yaml.safe_dump(config, sort_keys=False).encode()
                archive.writestr(info, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    part.replace(path)
    return len(done)


def unpack_runs(path: Path, output: Path, extra: Sequence[str] = ()) -> int:
    """
    Put packed runs into the folder of a study; those that it has rows of stay.

    :param path: of a file that `pack_runs` wrote.
    :param output: folder of the study, made where it is missing.
    :param extra: as of `pack_runs`; those that exist stay.
    :return: the number of runs that came in.
    :raises ValueError: when the file is no such archive; nothing is written then.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as err:
        raise ValueError(f"{path}: expected a ZIP file of runs, got {err}.") from err
    for name in files:
        if name not in extra and not _is_kept(name):
            raise ValueError(
                f"{path}: expected {RUNS}/<run>/ with {', '.join(KEPT)}, got {name!r}."
            )
    incoming = {PurePosixPath(name).parent for name in files if name not in extra}
    new = [folder for folder in incoming if not (output / folder / ROWS).is_file()]
    wanted = [name for name in extra if not (output / name).is_file()]
    for name, data in files.items():
        if name in wanted or PurePosixPath(name).parent in new:
            target = output / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return len(new)


def _is_kept(name: str) -> bool:
    """Say whether a packed name is that of a run's file, and lies in its folder."""
    parts = PurePosixPath(name).parts
    if len(parts) != 3 or parts[0] != RUNS or ".." in parts:
        return False
    return parts[2] in KEPT or fnmatchcase(parts[2], TESTS)
