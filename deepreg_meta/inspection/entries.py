"""
The files of a split, listed as DeepReg's loaders list them, but without stopping at the
first one that has no partner.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from deepreg_meta.config.dataset_schema import DatasetConfig
from deepreg_meta.dataset.case_names import CaseId
from deepreg_meta.inspection.finding import Finding, problems

_SUFFIXES = {"nifti": (".nii.gz", ".nii"), "png": (".png", ".PNG")}


@dataclass(frozen=True)
class Entry:
    """
    One volume of a split.

    :param kind: moving_images, fixed_labels, ..., as DeepReg calls its folders; of
        single files "fixed image" and the like.
    :param path: of the file.
    :param key: of the data set in an HDF5 file, None for other files.
    """

    kind: str
    path: str
    key: str | None = None

    @property
    def place(self) -> str:
        """The file, and the key within."""
        return self.path if self.key is None else f"{self.path}, key {self.key}"


Cases = dict[CaseId, dict[str, Entry]]  # in DeepReg's order; the entries by kind


def list_cases(
    dataset: DatasetConfig, split: str, folders: Sequence[str]
) -> tuple[Cases, list[Finding]]:
    """
    Gather the volumes of every case, and name those that stand alone.

    :param dataset: the section.
    :param split: what messages call it.
    :param folders: of the split, with their sub-folders (or HDF5 files).
    :return: cases, incomplete ones too; what is missing.
    """
    cases: Cases = {}
    found: list[Finding] = []
    for kind in dataset.volume_kinds:
        entries: list[tuple[CaseId, Entry]] = []
        for folder in folders:
            try:
                entries += _list_entries(folder, kind, dataset.format)
            except OSError as err:
                text = f"{folder}/{kind}.h5: cannot be read ({err})."
                found += problems("files that cannot be read", [text])
        if not entries:
            text = f"{split}: expected {kind} in {', '.join(folders)}, found none."
            found += problems("files that are missing", [text])
        for case, entry in entries:
            other = cases.setdefault(case, {}).setdefault(kind, entry)
            if other is not entry:
                text = (
                    f"{split}: expected one file of {kind} for the case {case[1]}, got "
                    f"{other.place} and {entry.place}."
                )
                found += problems("cases with two files", [text])
    # in the order of the loaders: HDF5 files in that of the folders
    order = {folder: n if dataset.format == "h5" else 0 for n, folder in
             enumerate(folders)}  # fmt: skip
    cases = {
        case: cases[case]
        for case in sorted(cases, key=lambda case: (order[case[0]], case))
    }
    found += _find_gaps(cases, split, dataset.volume_kinds)
    if dataset.type == "unpaired" and len(cases) == 1:
        text = f"{split}: expected 2 images or more to make pairs of, got 1."
        found += problems("files that are missing", [text])
    return cases, found


def _find_gaps(cases: Cases, split: str, kinds: Iterable[str]) -> list[Finding]:
    texts = []
    for entries in cases.values():
        missing = [kind for kind in kinds if kind not in entries]
        if missing:
            place = next(iter(entries.values())).place
            texts.append(
                f"{split}: {place}: expected a partner of the same name in "
                f"{', '.join(missing)}, found none."
            )
    return problems("cases without a partner", texts)


def _list_entries(
    folder: str, kind: str, data_format: str
) -> Iterable[tuple[CaseId, Entry]]:
    """:raises OSError: for an HDF5 file that cannot be read."""
    if data_format == "h5":
        path = Path(folder) / f"{kind}.h5"
        with h5py.File(path, "r") as file:
            keys = sorted(file.keys())
        return [((folder, key), Entry(kind, str(path), key)) for key in keys]
    base = Path(folder) / kind
    found = []
    for path in sorted(base.rglob("*")):
        name = str(path.relative_to(base))
        suffix = next((s for s in _SUFFIXES[data_format] if name.endswith(s)), None)
        is_hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
        if suffix and not is_hidden:  # DeepReg's glob passes hidden files over
            case = (folder, name.removesuffix(suffix))
            found.append((case, Entry(kind, str(path))))
    return found
