"""Read one CSV file of results, and say where it is not what it should be."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deepreg_meta.evaluate.page.measure import is_measure, is_share, split_column

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
_ROUNDING = 1e-6  # files keep six digits


def read_table(path: Path, keys: Sequence[str]) -> pd.DataFrame:
    """
    Read a table of results; words stand in a few columns alone.

    :param path: CSV file.
    :param keys: columns that tell its rows apart.
    :return: numbers as floats, empty cells as nan.
    :raises ValueError: for a file that is no such table; the place is named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
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
    for name in filter(is_measure, header):
        _check_range(path, table, name, "step" in keys)
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


def _check_range(path: Path, table: pd.DataFrame, name: str, is_history: bool) -> None:
    """Refuse a Dice outside [0, 1], and what is infinite but for losses on the way."""
    values = table[name]
    if is_share(split_column(name).metric):
        wrong = (values < -_ROUNDING) | (values > 1 + _ROUNDING)
        rule = "a value in [0, 1]"
    else:
        wrong = values.abs() == math.inf
        rule = "a finite number or an empty cell"
        if is_history:  # an adaptation may diverge; curves leave such steps out
            return
    if wrong.any():
        row = table[wrong].iloc[0]
        raise ValueError(
            f"{path}, case {row['case']}, column {name}: expected {rule}, got "
            f"{row[name]:g}."
        )


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
