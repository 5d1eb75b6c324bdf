"""The result files of an evaluation, each named by its protocol."""

import math
from collections.abc import Sequence
from pathlib import Path

from deepreg_meta.evaluate.columns import describe_column
from deepreg_meta.evaluate.protocol.scores import Row, Scores
from deepreg_meta.evaluate.report import write_csv
from deepreg_meta.geometry.whole_file import whole_file


def write_results(
    folder: Path,
    protocol: str,
    scores: Sequence[Scores],
    summary: Sequence[Row],
    notes: str,
) -> str:
    """
    Write what a protocol found.

    :param folder: gets `<protocol>_cases.csv`, `_labels.csv` and `_landmarks.csv`
        (where there are such), `_summary.csv` and `_summary.md`.
    :param protocol: its name.
    :param scores: of the pairs.
    :param summary: a row per metric.
    :param notes: what a reader of the summary has to know.
    :return: the summary as a plain table.
    """
    tables = {
        "cases": [own.case for own in scores],
        "labels": [row for own in scores for row in own.labels],
        "landmarks": [row for own in scores for row in own.landmarks],
        "summary": list(summary),
    }
    names: dict[str, None] = {}
    for name, rows in tables.items():
        path = folder / f"{protocol}_{name}.csv"
        if rows:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            write_csv(path, rows, columns)
            names |= dict.fromkeys(columns)
        else:
            path.unlink(missing_ok=True)  # of an earlier evaluation
    lines = _table(summary)
    page = [f"# Evaluation by the protocol `{protocol}`", "", notes, ""]
    page += [f"| {' | '.join(cells)} |" for cells in lines[:1]]
    page += [f"|{'---|' * len(lines[0])}"]
    page += [f"| {' | '.join(cells)} |" for cells in lines[1:]]
    page += ["", "## Columns of the files", "", "| column | content |", "|---|---|"]
    page += [f"| `{name}` | {describe_column(name)} |" for name in names]
    with whole_file(folder / f"{protocol}_summary.md") as part:
        part.write_text("\n".join(page) + "\n", encoding="utf-8")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines
    )


def _table(rows: Sequence[Row]) -> list[list[str]]:
    header = list(rows[0])
    return [header, *([_cell(row[name]) for name in header] for row in rows)]


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.5g}"
