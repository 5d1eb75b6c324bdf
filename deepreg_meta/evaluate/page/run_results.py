"""Read the folder of results that a registration of many cases, or of one, wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype

from deepreg_meta.evaluate.page.measure import Column, split_column
from deepreg_meta.evaluate.page.table_file import AGAIN, read_table

SPLITS = ("train", "valid", "test")
# files of the commands that register, and of deepreg_evaluate; the first one must exist
LAYOUTS = (
    {
        "cases": "metrics.csv",
        "labels": "labels.csv",
        "landmarks": "landmarks.csv",
        "adaptation": "adaptation.csv",
    },
    {
        "cases": "physical_cases.csv",
        "labels": "physical_labels.csv",
        "landmarks": "physical_landmarks.csv",
    },
)
_KEYS = {
    "cases": ("case",),
    "labels": ("case", "label"),
    "landmarks": ("case", "landmark"),
    "adaptation": ("case", "step"),
}


@dataclass(frozen=True)
class RunResults:
    """
    What one folder of results holds.

    :param name: of the run in the report.
    :param folder: of the results.
    :param split: train, valid or test; "" where the folder is of none.
    :param cases: one row per case.
    :param labels: one row per case and label; may be empty, as all that follow.
    :param landmarks: one row per case and landmark.
    :param adaptation: one row per case and update.
    :param config: of the run, {} where none was saved.
    :param remarks: the comments at the head of the configuration, such as the
        checkpoint.
    :param unit: of all lengths: mm, voxels, or "" where there are none.
    :param label_names: of `labels`, where Dice of a case is that of the first one;
        () where it is a mean.
    """

    name: str
    folder: Path
    split: str
    cases: pd.DataFrame
    labels: pd.DataFrame
    landmarks: pd.DataFrame
    adaptation: pd.DataFrame
    config: Mapping[str, Any]
    remarks: tuple[str, ...] = field(default=())
    unit: str = ""
    label_names: tuple[str, ...] = field(default=())

    @property
    def first_label(self) -> str:
        """The label that Dice of a case is of, "" where it needs no name."""
        return self.label_names[0] if len(self.label_names) > 1 else ""

    def setting(self, *keys: str) -> Any:
        """Look a key of the configuration up, section first; None if it is missing."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def figure(self, case: str) -> Path | None:
        """Find the page of pictures of a case, None if it was not drawn."""
        places = [self.folder / case / "figure.png"]
        if len(self.cases) == 1:
            places.append(self.folder / "figure.png")
        return next((place for place in places if place.is_file()), None)


def numbers_of(table: pd.DataFrame) -> list[tuple[str, Column]]:
    """List the columns of numbers, with the parts of their names."""
    return [
        (str(name), split_column(str(name)))
        for name in table
        if is_numeric_dtype(table[name])
    ]


def find_results(run: str | Path) -> list[Path]:
    """
    Find the folders of results of a run.

    :param run: a folder with `metrics.csv` (or `physical_cases.csv`, of
        deepreg_evaluate), or one whose sub-folders have it, such as `logs/<run>` with
        `test` in it.
    :return: the folders, sorted.
    :raises FileNotFoundError: when there is no such folder.
    :raises ValueError: when no results are in it.
    """
    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"RUN: expected a folder of results, got {folder}, which is "
            f"{'no folder' if folder.exists() else 'not there'}."
        )
    if _layout_of(folder):
        return [folder]
    below = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    found = [path for path in below if _layout_of(path)]
    shown = ", ".join(path.name for path in below[:5]) or "an empty folder"
    if not found:
        raise ValueError(
            f"RUN: expected {LAYOUTS[0]['cases']} in {folder} or in a folder directly "
            f"below, got {shown}. {AGAIN}"
        )
    return found


def read_results(folder: Path, name: str) -> RunResults:
    """
    Read a folder of results.

    :param folder: of `find_results`.
    :param name: of the run in the report.
    :return: its tables and configuration.
    :raises ValueError: for a file that is not what it should be; it is named.
    """
    layout = _layout_of(folder) or LAYOUTS[0]
    tables = {
        kind: read_table(folder / file, _KEYS[kind])
        for kind, file in layout.items()
        if kind == "cases" or (folder / file).is_file()
    }
    cases = tables["cases"]
    for kind, table in tables.items():
        strange = sorted(set(table["case"]) - set(cases["case"]))
        if strange:
            raise ValueError(
                f"{folder / layout[kind]}: expected the cases of {layout['cases']}, "
                f"got {', '.join(strange[:3])} too. {AGAIN}"
            )
    config, remarks = _read_config(folder / "config.yaml")
    none = pd.DataFrame({"case": pd.Series(dtype=str)})
    return RunResults(
        name=name,
        folder=folder,
        split=folder.name if folder.name in SPLITS else "",
        cases=cases,
        labels=tables.get("labels", none),
        landmarks=tables.get("landmarks", none),
        adaptation=tables.get("adaptation", none),
        config=config,
        remarks=remarks,
        unit=_unit_of(folder, tables),
        label_names=_label_names(tables) if layout is LAYOUTS[0] else (),
    )


def _layout_of(folder: Path) -> dict[str, str] | None:
    """Return the names of a folder's files, None where it has no results."""
    return next(
        (files for files in LAYOUTS if (folder / files["cases"]).is_file()), None
    )


def _read_config(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read the configuration without judging it: it may be of another version."""
    if not path.is_file():
        return {}, ()
    try:
        text = path.read_text(encoding="utf-8-sig")
        config = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as err:
        reason = str(err).splitlines()[0]
        raise ValueError(f"{path}: expected YAML, got {reason}.") from err
    if not isinstance(config, dict):
        raise ValueError(
            f"{path}: expected a configuration, sections with keys, got "
            f"{type(config).__name__}. {AGAIN}"
        )
    remarks = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        remarks.append(line.lstrip("# "))
    return config, tuple(remarks)


def _label_names(tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Name the labels in the order of the file: the first one is the case's."""
    return tuple(dict.fromkeys(tables["labels"]["label"])) if "labels" in tables else ()


def _unit_of(folder: Path, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the one unit of lengths, "" without any length."""
    found = {
        column.unit: f"{kind}, {name}"
        for kind, table in tables.items()
        for name, column in numbers_of(table)
        if column.unit
    }
    if len(found) > 1:
        shown = " and ".join(sorted(found.values()))
        raise ValueError(
            f"{folder}: expected lengths in one unit, got mm and voxels ({shown}). "
            "Files of two runs are mixed here."
        )
    return next(iter(found), "")
