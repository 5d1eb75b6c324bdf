"""
Write the results of runs up as tables and one page:

    deepreg_report logs/<run> --output report

No TensorFlow is needed.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from deepreg_meta import arguments
from deepreg_meta import command_line as cli

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = arguments.new_parser(
        "deepreg_report",
        "Compare the results of runs: Markdown, CSV and one self-contained HTML page "
        "with tables, box plots, curves and the pictures of every case.",
        "examples:\n"
        "  deepreg_report logs/first\n"
        "  deepreg_report logs/k10/test logs/k100/test --names k=10 k=100 "
        "--output report",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="Folder of results of deepreg_predict or deepreg_register (metrics.csv is "
        "in it), or a folder of a run that holds such folders.",
    )
    parser.add_argument(
        "--output",
        "-o",
        default=None,
        metavar="DIR",
        help="Folder of the report; a report that is alone in it is replaced. Default: "
        "<first RUN>/report.",
    )
    parser.add_argument(
        "--baseline",
        "-b",
        default=None,
        metavar="NAME",
        help="What others are compared with: a stage (before, centroids, unadapted, "
        "adapted), a method as in the tables, or a run. Default: centroids, or before.",
    )
    parser.add_argument(
        "--names",
        nargs="+",
        default=None,
        metavar="NAME",
        help="What each RUN is called in the report. Default: names of the folders.",
    )
    return parser


def report(
    runs: Sequence[str | Path],
    output: str | Path | None = None,
    baseline: str | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """
    Write a report.

    :param runs: folders of results, or of runs that hold some.
    :param output: folder of the report; None is `report` in the first of them.
    :param baseline: stage, method or run; None is centroids, else before.
    :param names: one for each run; None takes the names of the folders.
    :return: the page.
    :raises ValueError: for results that cannot be used or compared; the file is named.
    :raises FileNotFoundError: for a folder that is not there.
    """
    from deepreg_meta.evaluate.page.folder import check_output, size_of, write_report
    from deepreg_meta.evaluate.page.gather import gather

    target = Path(output or Path(runs[0]) / "report").expanduser()
    check_output(target)
    page = write_report(gather(runs, names, baseline), target)
    logger.info("%s: %s.", page.name, size_of(page.stat().st_size))
    return page


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_report`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parsed = build_parser().parse_args(args)
    return cli.run(lambda: report(**vars(parsed)), "The report is {}")


if __name__ == "__main__":
    sys.exit(main())
