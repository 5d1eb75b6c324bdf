"""Write the folder of a report: the page, its Markdown, tables and plots."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from deepreg_meta import __version__
from deepreg_meta.evaluate.page.case_part import describe_cases
from deepreg_meta.evaluate.page.document import Block, Heading
from deepreg_meta.evaluate.page.html import to_html
from deepreg_meta.evaluate.page.markdown import to_markdown
from deepreg_meta.evaluate.page.measure import METRICS
from deepreg_meta.evaluate.page.method_part import describe_methods
from deepreg_meta.evaluate.page.metric_part import (
    ADAPTATION,
    PLOTS,
    Plots,
    describe_adaptation,
    describe_metrics,
)
from deepreg_meta.evaluate.page.overview import glance, introduction
from deepreg_meta.evaluate.page.run_results import SPLITS
from deepreg_meta.evaluate.page.setting_part import describe_runs
from deepreg_meta.evaluate.page.study import Study
from deepreg_meta.results.folder import whole_folder

logger = logging.getLogger(__name__)

PAGE = "report.html"
_MARKDOWN = "report.md"
_TABLES = ("cases.csv", "summary.csv", "comparisons.csv")
_NAMES_SHOWN = 3
_SIZE = "0000.0 MB"  # stands in the page until its size is known


def write_report(studies: Sequence[Study], output: Path) -> Path:
    """
    Write a report: all of it, or nothing.

    :param studies: one for each split.
    :param output: folder; an earlier report that is alone in it is replaced.
    :return: the page, `report.html`.
    :raises ValueError: when the folder holds something else, or a file of the results
        cannot be used.
    """
    check_output(output)
    with whole_folder(output) as working:
        _fill(studies, working)
        if not working.is_relative_to(output.resolve()):
            check_output(output)  # making a report takes its time
    return output / PAGE


def check_output(output: Path) -> None:
    """
    Check that a report may be written to a folder: what is in it will be deleted.

    :param output: new, empty, or with a report and nothing else in it.
    :raises ValueError: for another one; files that are of no report are named.
    """
    if not output.exists():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / PAGE).exists()):
        raise ValueError(
            f"--output: expected a new folder, or one with an earlier report, got "
            f"{output}, which holds something else. Choose another one."
        )
    own = _report_files(output)
    foreign = sorted(name for name in _files_below(output) if name not in own)
    if foreign:
        more = len(foreign) - _NAMES_SHOWN
        raise ValueError(
            f"--output: expected a new folder, or one with an earlier report alone, "
            f"got {output}, which also holds {', '.join(foreign[:_NAMES_SHOWN])}"
            f"{f' and {more} more' if more > 0 else ''}. Replacing the report would "
            "delete them: choose another folder."
        )


def _report_files(folder: Path) -> set[str]:
    """List what a report writes: fixed names, and the plots of its Markdown page."""
    own = {PAGE, _MARKDOWN, *_TABLES}
    for prefix in ("", *(f"{split}_" for split in SPLITS)):
        own |= {f"{PLOTS}/{prefix}{name}.svg" for name in (*METRICS, ADAPTATION)}
    page = folder / _MARKDOWN
    if page.is_file():  # plots of metrics that have no fixed name
        text = page.read_text(encoding="utf-8", errors="replace")
        own.update(re.findall(rf"\]\(({PLOTS}/[^/\n]+\.svg)\)", text))
    return own


def _files_below(folder: Path) -> Iterator[str]:
    """List files and links below a folder, relative to it."""
    for above, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(Path(above, name))]
        for name in (*links, *files):
            yield Path(above, name).relative_to(folder).as_posix()


def _fill(studies: Sequence[Study], folder: Path) -> None:
    (folder / PLOTS).mkdir()
    summaries, comparisons, blocks = [], [], list(introduction(studies))
    for study in studies:
        levels = [study.summary(level) for level in ("cases", "labels", "landmarks")]
        filled = [level for level in levels if len(level)]
        summary, comparison = pd.concat(filled or levels), study.comparisons()
        summaries.append(_of_split(study, summary))
        comparisons.append(_of_split(study, comparison))
        blocks += _describe(study, levels[0], comparison, folder, len(studies) > 1)
    blocks += describe_methods(studies)
    long_tables = [study.long_table() for study in studies]
    for name, tables in zip(
        _TABLES, (long_tables, summaries, comparisons), strict=True
    ):
        _write_table(folder / name, pd.concat(tables))
    (folder / _MARKDOWN).write_text(
        to_markdown(blocks) + f"\nMade by deepreg_meta {__version__}.\n",
        encoding="utf-8",
    )
    (folder / PAGE).write_text(_page(blocks), encoding="utf-8")


def _describe(
    study: Study,
    summary: pd.DataFrame,
    comparison: pd.DataFrame,
    folder: Path,
    is_one_of_several: bool,
) -> Iterator[Block]:
    prefix = f"{study.split}_" if is_one_of_several and study.split else ""
    plots = Plots(folder, prefix)
    if is_one_of_several:
        yield Heading(2, f"Split {study.split or 'without a name'}")
    yield from describe_runs(study)
    yield from glance(study)
    yield from describe_metrics(study, summary, comparison, plots)
    yield from describe_adaptation(study, plots)
    yield from describe_cases(study)


def _of_split(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    table.insert(0, "split", study.split)
    return table


def _write_table(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def _page(blocks: Sequence[Block]) -> str:
    """Render the page, and state its own size at its end."""
    title = next(b.text for b in blocks if isinstance(b, Heading))
    footer = (
        f"Made by deepreg_meta {__version__}. This page is one file of {_SIZE}; it "
        "needs no network and runs no script. Pictures are compressed: the originals "
        "lie with the results. For research, not a medical device."
    )
    page = to_html(blocks, title, footer)
    return page.replace(_SIZE, size_of(len(page.encode("utf-8"))))


def size_of(num_bytes: int) -> str:
    """Write a size in MB of a million bytes."""
    return f"{num_bytes / 1e6:.1f} MB"
