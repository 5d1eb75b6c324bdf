"""A folder of results that is there as a whole or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MARK = "metrics.csv"  # what tells a folder of results from any other


def check_replaceable(folder: Path, flag: str) -> None:
    """
    Check that no files but earlier results would be replaced.

    :param folder: where results are to lie.
    :param flag: of the command line that named it, for the message.
    :raises ValueError: when the folder holds something else.
    """
    if not folder.exists():
        return
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if not is_empty and not (folder / MARK).is_file():
        raise ValueError(
            f"{flag}: {folder} exists and holds no results that could be replaced, "
            "such as TensorBoard's files of a training. Choose another name."
        )


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """
    Gather results beside a folder and move them there when all are complete.

    :param folder: of the results; replaced if it exists.
    :return: the folder to write to; deleted when something goes wrong.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield working
        shutil.rmtree(folder, ignore_errors=True)
        working.chmod(0o755)  # mkdtemp's 0700 would hide it from colleagues
        working.rename(folder)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
