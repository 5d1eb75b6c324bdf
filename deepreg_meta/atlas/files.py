"""Find images and their labels in folders, and read which atlases belong to which."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deepreg_meta.dataset.image_folder import ImageFiles
from deepreg_meta.geometry import itk_image
from deepreg_meta.geometry.whole_file import suffix_of

_SUFFIXES = (".nii.gz", ".nii", ".mgz", *itk_image.SUFFIXES, ".png")
_TARGET_KEYS, _ATLAS_KEYS = ("test", "target"), ("atlas", "atlases")

Flags = tuple[str, str]  # of images and of labels, for messages


def find_files(
    images: Sequence[str | Path],
    labels: Sequence[str | Path] | None,
    flags: Flags = ("--atlas-images", "--atlas-labels"),
) -> list[ImageFiles]:
    """
    Find images and the label of each, by their names without suffix.

    One image and one label that are named as files belong together whatever they are
    called.

    :param images: files, and folders of them.
    :param labels: the same; labels without an image are left out. None for images
        without labels.
    :param flags: that name both, for messages.
    :return: at least one image, in the order given, those of a folder by name.
    :raises FileNotFoundError: with all files and folders that are not there.
    :raises ValueError: with the names of all images without a label, or where two
        files have one name.
    """
    given = [(flags[0], list(images)), (flags[1], list(labels or ()))]
    _check_there(given)
    if labels is not None and all(_is_one_file(paths) for _, paths in given):
        return [single(images[0], labels[0])]
    found, partners = (_by_stem(flag, paths) for flag, paths in given)
    if not found:
        raise ValueError(
            f"{flags[0]}: expected at least one image ({', '.join(_SUFFIXES)}), found "
            f"none in {', '.join(map(str, images))}."
        )
    if labels is None:
        return [ImageFiles(name, path, None) for name, path in found.items()]
    alone = [name for name in found if name not in partners]
    if alone:
        raise ValueError(
            f"{flags[1]}: expected a label of the same name for each of {len(found)} "
            f"images of {flags[0]}, found none for {len(alone)}: {', '.join(alone)}."
        )
    return [ImageFiles(name, path, partners[name]) for name, path in found.items()]


def single(image: str | Path, label: str | Path | None = None) -> ImageFiles:
    """
    Name one image and its label, whatever their names are.

    :param image: its file.
    :param label: its label, or None.
    """
    path = Path(image).expanduser()
    return ImageFiles(
        stem_of(path), path, None if label is None else Path(label).expanduser()
    )


def stem_of(path: Path) -> str:
    """Return the name of a file without its suffix."""
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix in _SUFFIXES else path.stem


def _check_there(given: Iterable[tuple[str, Sequence[str | Path]]]) -> None:
    missing = [
        f"{flag}: expected a file or a folder, found none: {path}"
        for flag, paths in given
        for path in paths
        if not Path(path).expanduser().exists()
    ]
    if missing:
        raise FileNotFoundError("\n".join(missing))


def _is_one_file(paths: Sequence[str | Path]) -> bool:
    return len(paths) == 1 and not Path(paths[0]).expanduser().is_dir()


def _by_stem(flag: str, paths: Sequence[str | Path]) -> dict[str, Path]:
    """Return the files of all folders by their names without suffix."""
    found: dict[str, Path] = {}
    twice: list[str] = []
    for given in paths:
        path = Path(given).expanduser()
        for file in _files_in(path) if path.is_dir() else [path]:
            stem = stem_of(file)
            if stem in found:
                twice.append(f"{file} and {found[stem]}")
            found.setdefault(stem, file)
    if twice:
        raise ValueError(
            f"{flag}: expected one file of each name, got {'; '.join(twice)}."
        )
    return found


def _files_in(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if suffix_of(path) in _SUFFIXES and not path.name.startswith(".")
    ]


def read_pairs(
    path: str | Path, targets: Sequence[ImageFiles], atlases: Sequence[ImageFiles]
) -> list[tuple[ImageFiles, list[ImageFiles]]]:
    """
    Read which atlases each target has.

    :param path: JSON: a mapping from the name of a target to that of its atlas, or to
        a list of them; or a list of objects with the keys `test` (or `target`) and
        `atlas` (or `atlases`), further keys not counting. Names are those of files,
        with or without suffix.
    :param targets: all there are; those that the file does not name are left out.
    :param atlases: all there are.
    :return: each target of the file with its atlases, in the order of the file.
    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: for another form, with all names that no image has, or with
        those of atlases that a target has twice.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"--pairs: expected a file, found none: {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as err:
        raise ValueError(f"--pairs: {path}: expected JSON: {err}") from err
    try:
        rows = _rows(content)
    except ValueError as err:
        raise ValueError(f"--pairs: {path}: {err}") from err
    known = [{own.name: own for own in all_} for all_ in (targets, atlases)]
    pairs, unknown, twice = [], [], []
    for target, chosen in rows:
        names = [_stem(name) for name in (target, *chosen)]
        again = sorted({name for name in names[1:] if names[1:].count(name) > 1})
        twice += [f"{name} of {names[0]}" for name in again]
        kinds = ["target", *["atlas"] * len(chosen)]
        for name, kind in zip(names, kinds, strict=True):
            if name not in known[kind == "atlas"]:
                unknown.append(f"{kind} {name}")
        if not unknown:
            pairs.append((known[0][names[0]], [known[1][name] for name in names[1:]]))
    if twice:
        raise ValueError(
            f"--pairs: {path}: expected each atlas of a target once, got more than "
            f"once: {', '.join(twice)}."
        )
    if unknown:
        raise ValueError(
            f"--pairs: {path}: expected names of images that are given, got "
            f"{len(unknown)} others: {', '.join(dict.fromkeys(unknown))}."
        )
    return pairs


def _stem(name: str) -> str:
    return stem_of(Path(name)) if suffix_of(name) in _SUFFIXES else name


def _rows(data: Any) -> list[tuple[str, list[str]]]:
    """:raises ValueError: for another form, or a target that is named twice."""
    if isinstance(data, dict):
        entries = list(data.items())
    elif isinstance(data, list) and all(isinstance(row, dict) for row in data):
        entries = [(_value(row, _TARGET_KEYS), _value(row, _ATLAS_KEYS))
                   for row in data]  # fmt: skip
    else:
        raise ValueError(
            "expected a mapping from target to atlas, or a list of objects with the "
            f"keys test and atlas, got {type(data).__name__}."
        )
    rows = [(target, [a] if isinstance(a, str) else a) for target, a in entries]
    for target, chosen in rows:
        is_list = isinstance(chosen, list) and chosen
        if not is_list or not all(isinstance(x, str) for x in (target, *chosen)):
            raise ValueError(
                "expected the name of a target and that of an atlas, or a list of "
                f"them, got {target!r} and {chosen!r}."
            )
    names = [target for target, _ in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not rows:
        raise ValueError(
            "expected each target once, in a list of its atlases, got "
            f"{', '.join(twice) or 'none'}{' more than once' if twice else ''}."
        )
    return rows


def _value(row: dict, keys: tuple[str, str]) -> Any:
    return row.get(keys[0], row.get(keys[1]))
