"""Write files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONG_SUFFIXES = (".nii.gz", ".mrk.json")  # writers choose their format by them


def suffix_of(path: str | Path) -> str:
    """Return the suffix in lower case, `.nii.gz` and `.mrk.json` whole."""
    name = Path(path).name.lower()
    long = next((suffix for suffix in _LONG_SUFFIXES if name.endswith(suffix)), None)
    return long or Path(name).suffix


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """
    Give a passing name to write to, which becomes the file when all went well.

    :param path: of the file; its folder is made.
    :return: a name in the same folder with the same suffix.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
