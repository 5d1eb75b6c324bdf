"""Names of cases: those of their files, and as much of their folders as it takes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

CaseId = tuple[str, str]  # folder, and name within it without suffix


def unique_names(cases: Sequence[CaseId]) -> tuple[str, ...]:
    """
    Name cases by file stem, with folders where several share a stem.

    :param cases: of one split, all different.
    :return: a name for each, no two alike: results of one would replace the other's.
    """
    stems = [stem.replace("/", "_") for _, stem in cases]
    parts = [PurePath(folder).parts for folder, _ in cases]
    names = list(stems)
    for depth in range(1, max(map(len, parts), default=0) + 1):
        for index in _shared(names, stems):
            names[index] = "_".join([*parts[index][-depth:], stems[index]])
    for index in _shared(names, stems):  # such as a/b.png and a_b.png
        names[index] = _numbered(names[index], names)
    return tuple(name.replace("/", "") for name in names)


def _shared(names: Sequence[str], stems: Sequence[str]) -> list[int]:
    """Return the indices of all cases of a stem of which two have one name."""
    counts = Counter(names)
    bad = {stem for name, stem in zip(names, stems, strict=True) if counts[name] > 1}
    return [index for index, stem in enumerate(stems) if stem in bad]


def _numbered(name: str, names: Sequence[str]) -> str:
    """Add the first number that makes a name of its own."""
    taken, number = set(names), 2
    if Counter(names)[name] == 1:
        return name
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
