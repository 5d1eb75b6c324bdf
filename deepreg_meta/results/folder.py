"""A folder of results that is there as a whole or not at all."""

import contextlib
import csv
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

logger = logging.getLogger(__name__)

MARK = "metrics.csv"  # what tells a folder of results from any other
# what predictions and registrations write, of all cases and of one
_OF_ALL = (
    *(MARK, "labels.csv", "landmarks.csv", "adaptation.csv", "adaptation.png"),
    *("summary.csv", "columns.md", "config.yaml"),
)
_OF_CASE = (
    *("transform*.h5", "ddf*.nii.gz", "fixed_image.nii.gz", "warped_image.nii.gz"),
    *("warped_image.png", "warped_label_*.nii.gz", "figure.png"),
    "*_landmarks_on_*.mrk.json",
)
OF_CASE = (*_OF_CASE, "learn2reg/disp_*.nii.gz")
_FIELDS, _REPORT = "learn2reg", "report"


class TakenError(ValueError):
    """Another process writes to a folder."""


@contextlib.contextmanager
def claimed(folder: Path, told: str) -> Iterator[None]:
    """
    Keep other processes out of a folder that is written to; a claim ends with its own.

    :param folder: it exists.
    :param told: what to tell where another process has it.
    :raises TakenError: in that case.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise TakenError(told) from err
        except OSError:  # a file system without locks
            logger.debug("%s cannot be locked.", folder)
        yield
    finally:
        os.close(handle)


def check_replaceable(
    folder: Path, flag: str, mark: str = MARK, patterns: Sequence[str] = ()
) -> None:
    """
    Check that no files but earlier results would be replaced.

    :param folder: where results are to lie.
    :param flag: of the command line that named it, for the message.
    :param mark: the file that tells results of this kind from any other folder.
    :param patterns: of all files that results of this kind are made of, by their paths
        below the folder; none: those of predictions and registrations.
    :raises ValueError: when the folder holds something else.
    """
    if not folder.exists():
        return
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if not is_empty and not (folder / mark).is_file():
        raise ValueError(
            f"{flag}: {folder} exists and holds something else than results, which "
            "alone are replaced. Choose another name."
        )
    foreign = [] if is_empty else _foreign_files(folder, patterns)
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ValueError(
            f"{flag}: {folder} holds earlier results, which would be replaced, and "
            f"files that are none: {', '.join(foreign[:3])}{more}. Move them away, or "
            "choose another name."
        )


def _foreign_files(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Name the files in a folder of results that no result is made of."""
    if patterns:
        paths = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
        names = [path.relative_to(folder).as_posix() for path in paths]
        return [n for n in names if not any(fnmatchcase(n, p) for p in patterns)]
    with (folder / MARK).open(newline="", encoding="utf-8", errors="replace") as file:
        cases = {row.get("case") for row in csv.DictReader(file)}

    def is_ours(parts: tuple[str, ...]) -> bool:
        if len(parts) == 1:
            return any(fnmatchcase(parts[0], p) for p in (*_OF_ALL, *_OF_CASE))
        if parts[0] == _REPORT:
            return (folder / _REPORT / "report.html").is_file()
        patterns = ("disp_*.nii.gz",) if parts[0] == _FIELDS else _OF_CASE
        is_known = parts[0] in cases or parts[0] == _FIELDS
        return is_known and any(fnmatchcase("/".join(parts[1:]), p) for p in patterns)

    files = (path.relative_to(folder) for path in sorted(folder.rglob("*"))
             if not path.is_dir())  # fmt: skip
    return [str(path) for path in files if not is_ours(path.parts)]


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """
    Gather results beside a folder and move them there when all are complete.

    Where the folder itself cannot be replaced, because it is the one that the command
    runs in, a mounted one, or one in a folder that nobody may write to, they are
    gathered in it, and what it held is replaced.

    :param folder: of the results; replaced if it exists. Of a link, what it leads to.
    :return: the folder to write to; deleted when something goes wrong, and what was
        there before is there again.
    """
    folder = folder.resolve()
    missing = [path for path in folder.parents if not path.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    is_fixed = _is_fixed(folder)
    place = folder if is_fixed else folder.parent
    working = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=place))
    try:
        yield working
        working.chmod(0o755)  # mkdtemp's 0700 would hide it from colleagues
        _replace_content(folder, working) if is_fixed else _replace(folder, working)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        for path in missing:  # the innermost first; one that others use is not empty
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _is_fixed(folder: Path) -> bool:
    """Say whether a folder is there that cannot be replaced by another one."""
    if not folder.is_dir():
        return False
    is_here = folder == Path.cwd()
    return is_here or os.path.ismount(folder) or not os.access(folder.parent, os.W_OK)


def _replace(folder: Path, working: Path) -> None:
    """Put a folder in the place of another one, which stays until then."""
    old = working.with_name(f"{working.name}.old")
    if folder.exists():
        folder.rename(old)
    try:
        working.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _replace_content(folder: Path, working: Path) -> None:
    """Put what is in a folder within another one in the place of all else there."""
    old = Path(tempfile.mkdtemp(prefix=f"{working.name}.old", dir=folder))
    moved: list[tuple[Path, Path]] = []
    try:
        for path in [*folder.iterdir()]:
            if path not in (working, old):
                moved.append((path, path.rename(old / path.name)))
        for path in [*working.iterdir()]:
            moved.append((path, path.rename(folder / path.name)))
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        old.rmdir()
        raise
    working.rmdir()
    shutil.rmtree(old, ignore_errors=True)
