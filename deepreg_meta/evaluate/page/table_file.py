"""Read one CSV file of results, and say where it is not what it should be."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepreg_meta.evaluate.page.measure import is_measure

_WORDS = (
    "case",
    "label",
    "landmark",
    "points",
    "warning",
)  # columns that hold no numbers
AGAIN = (
    "An interrupted run leaves such a folder: run deepreg_predict or "
    "deepreg_register again."
)


def read_table(path: Path, keys: Sequence[str]) -> pd.DataFrame:
    """
    Read a table of results; words stand in a few columns alone.

    :param path: CSV file.
    :param keys: columns that tell its rows apart.
    :return: numbers as floats, empty cells as nan.
    :raises ValueError: for a file that is no such table; the place is named.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as err:
        raise ValueError(f"{path}: expected a CSV file in UTF-8, got {err}.") from err
    header = lines[0] if lines else []
    if not set(keys) <= set(header) or len(set(header)) < len(header):
        raise ValueError(
            f"{path}: expected distinct columns, {', '.join(keys)} among them, got "
            f"{', '.join(header[:8]) or 'an empty file'}. Reports are made of results "
            "of deepreg_predict with adaptation, or of deepreg_register."
        )
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise ValueError(
                f"{path}, line {number}: expected {len(header)} cells as in the head, "
                f"got {len(line)}. {AGAIN}"
            )
    if len(lines) < 2:
        raise ValueError(f"{path}: expected at least one row, got the head alone.")
    columns = {
        name: _read_column(path, name, [line[index] for line in lines[1:]])
        for index, name in enumerate(header)
    }
    table = pd.DataFrame(columns)
    if "points" in table:  # sets of landmarks may use the same names
        table["landmark"] = table["points"] + " " + table["landmark"]
    repeated = table[table.duplicated(list(keys))]
    if len(repeated):
        shown = ", ".join(str(value) for value in repeated.iloc[0][list(keys)])
        raise ValueError(
            f"{path}: expected one row for each {' and '.join(keys)}, got two for "
            f"{shown}."
        )
    return table


def _read_column(path: Path, name: str, cells: Sequence[str]) -> list[Any]:
    if name in _WORDS:
        return list(cells)
    values = []
    for number, cell in enumerate(cells, start=2):
        try:
            values.append(float(cell) if cell else math.nan)
        except ValueError as err:
            if not is_measure(name):
                return list(cells)  # words of a column that a later version added
            raise ValueError(
                f"{path}, line {number}, column {name}: expected a number or an empty "
                f"cell, got {cell!r}."
            ) from err
    return values
