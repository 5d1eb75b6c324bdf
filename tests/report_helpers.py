"""Folders of results as the registration commands write them, with known numbers."""

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

CONFIG = {
    "dataset": {
        "dir": {"train": None, "valid": None, "test": "data/test"},
        "labels": {"gland": 1, "cyst": 2},
        "spacing_mm": None,
    },
    "align": {"mode": "sections", "label": 0},
    "train": {"method": "reptile", "meta": {"base": "ddf", "inner_steps": 10}},
    "adapt": {"steps": 2, "labels": [0], "frames": [3, 10]},
}
# Dice of seven cases: unadapted is 0.01 better than before, adapted as it comes
BEFORE = (0.50, 0.52, 0.54, 0.56, 0.58, 0.60, 0.62)
ADAPTED = (0.90, 0.85, 0.80, 0.95, 0.57, 0.88, 0.91)
TRE = (2.0, 3.0, None, 4.0, 6.0, 1.0, 2.0)  # case 2 has no landmarks


def write_table(path: Path, rows: Sequence[Mapping]) -> None:
    """Write rows as the commands do: empty cells for None."""
    header = list(rows[0])
    lines = [",".join(header)]
    for row in rows:
        cells = ("" if row[name] is None else str(row[name]) for name in header)
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def case_rows(unit: str = "mm", gain: float = 0.0) -> list[dict]:
    """:return: one row per case; `gain` is added to the adapted Dice."""
    rows = []
    for index, (before, adapted, tre) in enumerate(
        zip(BEFORE, ADAPTED, TRE, strict=True)
    ):
        rows.append(
            {
                "case": f"case{index}",
                "num_updates": 2,
                "seconds": 1.5 + index,
                "dsc_before": before,
                "dsc_centroids": round(before + 0.2, 6),
                "dsc_unadapted": round(before + 0.01, 6),
                "dsc_adapted": round(adapted + gain, 6),
                f"tre_before_{unit}": None if tre is None else 2 * tre,
                f"tre_centroids_{unit}": None if tre is None else tre + 1,
                f"tre_unadapted_{unit}": None if tre is None else tre + 0.5,
                f"tre_adapted_{unit}": tre,
                "folds_unadapted": 0,
                "folds_adapted": 0.0125 if index == 3 else 0,
                "jacobian_min_adapted": -0.1 if index == 3 else 0.4,
                "warning": "1.25 % of the voxels fold" if index == 3 else "",
            }
        )
    return rows


def write_run(
    folder: Path,
    rows: Sequence[Mapping] | None = None,
    unit: str = "mm",
    config: Mapping | None = CONFIG,
    pictures: Sequence[str] = ("case0", "case4"),
) -> Path:
    """
    Write a folder of results.

    :param folder: made.
    :param rows: of the cases; None takes `case_rows`.
    :param unit: mm or vox, the ending of lengths.
    :param config: saved with the run; None saves none.
    :param pictures: cases that have a figure.
    :return: the folder.
    """
    folder.mkdir(parents=True)
    rows = case_rows(unit) if rows is None else rows
    write_table(folder / "metrics.csv", rows)
    landmarks, steps = [], []
    for row in rows:
        for landmark in ("1", "2"):
            tre = row.get(f"tre_adapted_{unit}")
            landmarks.append(
                {
                    "case": row["case"],
                    "landmark": landmark,
                    f"tre_before_{unit}": row.get(f"tre_before_{unit}"),
                    f"tre_adapted_{unit}": tre,
                }
            )
        for step in range(2):
            dsc = 0.6 + 0.1 * step
            steps.append({"case": row["case"], "step": step, "loss": -dsc, "dsc": dsc})
    write_table(folder / "landmarks.csv", landmarks)
    write_table(folder / "adaptation.csv", steps)
    if config is not None:
        text = yaml.safe_dump(dict(config), sort_keys=False)
        head = "# checkpoint logs/one/save/ckpt-9\n"
        (folder / "config.yaml").write_text(head + text, encoding="utf-8")
    for case in pictures:
        (folder / case).mkdir()
        pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
        Image.fromarray(pixels).save(folder / case / "figure.png")
    return folder


class Page(HTMLParser):
    """What a page holds: tags in their order, tables, pictures, links, and its text."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.errors: list[str] = []
        self.text = ""
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        self.errors += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Note a tag; begin a table, a row or a cell."""
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Check that the tag closes the last one opened."""
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"</{tag}> closes nothing at {self.getpos()}")
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        """Gather text, that of cells and captions apart."""
        if "style" in self.open:
            return
        self.text += data
        if "caption" in self.open:
            self._caption += data
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    def attributes(self, tag: str) -> list[dict]:
        """Return the attributes of every tag of a name."""
        return [attrs for name, attrs in self.tags if name == tag]

    def row(self, caption: str, name: str) -> list[str]:
        """Return a row of a table by its caption's start and its first cell."""
        table = next(
            rows for key, rows in self.tables.items() if key.startswith(caption)
        )
        return next(row for row in table if row[0] == name)
