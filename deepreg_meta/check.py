"""
Check the environment and the data before anyone trains for hours:

    deepreg_check
    deepreg_check --config mine.yaml --output report
    deepreg_check --fixed us.nii.gz --moving mr.nii.gz

TensorFlow is imported only after the command line has been read, and for a pair of
files or with --fast not at all.
"""

import argparse
import sys
from collections.abc import Sequence

from deepreg_meta import arguments
from deepreg_meta import command_line as cli
from deepreg_meta.inspection import layout
from deepreg_meta.inspection.finding import problems
from deepreg_meta.inspection.report import Check

MODES = ("train", "valid", "test")


def check_environment(log_root: str = "logs") -> Check:
    """
    Check packages, devices, commands and folders.

    :param log_root: folder of all runs.
    """
    from deepreg_meta.inspection import environment

    return Check(*environment.check_environment(log_root))


def check_config(
    config_path: str | Sequence[str],
    modes: Sequence[str] = MODES,
    fast: bool = False,
    log_root: str = "logs",
) -> Check:
    """
    Check a configuration, its data, and the environment it will run in.

    :param config_path: YAML files, merged left to right.
    :param modes: of train, valid, test.
    :param fast: read the headers of files alone, and do not import TensorFlow.
    :param log_root: folder of all runs.
    :return: what was found; its tables are those of the data.
    :raises FileNotFoundError: for a missing configuration file.
    """
    from deepreg_meta.config import ConfigError, load_config
    from deepreg_meta.inspection import environment

    paths = [config_path] if isinstance(config_path, str) else list(config_path)
    cli.check_files({"--config": paths})
    check = Check()
    _, check.findings = environment.check_environment(log_root, ask_tensorflow=not fast)
    try:
        config = load_config(paths)
    except ConfigError as err:
        check.findings += problems("configuration", err.problems)
        return check
    from deepreg_meta.inspection.data import check_data
    from deepreg_meta.inspection.tables import config_section, split_sections

    report = check_data(config, modes, fast)
    if not fast and not environment.stack_problems():
        from deepreg_meta.inspection.pairs import score_pairs

        score_pairs(report, config)
    check.findings = report.findings + check.findings
    check.sections = [config_section(config), *split_sections(report)]
    check.case_rows = [row for split in report.splits for row in split.rows]
    check.records, check.tiles = report.files, report.tiles
    return check


def check_pair(
    fixed: str,
    moving: str,
    fixed_label: Sequence[str] = (),
    moving_label: Sequence[str] = (),
    fast: bool = False,
) -> Check:
    """
    Check two images and how they lie by their headers.

    :param fixed: file of the fixed image.
    :param moving: file of the moving image.
    :param fixed_label: one file with channels or an index map, or one per structure.
    :param moving_label: likewise, in the same order.
    :param fast: read headers alone.
    :raises FileNotFoundError: for a missing file.
    """
    from deepreg_meta.inspection.pair import check_files

    files = {"--fixed": fixed, "--moving": moving}
    labels = {"--fixed-label": fixed_label, "--moving-label": moving_label}
    cli.check_files({**files, **labels})
    report = check_files(fixed, moving, fixed_label, moving_label, fast)
    return Check(
        sections=report.sections,
        findings=report.findings,
        case_rows=[report.row],
        records=report.records,
        tiles=report.tiles,
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = arguments.new_parser(
        "deepreg_check",
        "Check the environment; with --config also the data of a configuration; or, "
        "with --fixed and --moving, one pair of files.",
        "exit status: 0 without problems, 1 with problems, 2 for a wrong command line\n"
        "example: deepreg_check --config config/meta_trus.yaml mine.yaml -o report",
    )
    parser.add_argument(
        "--config_path",
        "--config",
        "-c",
        nargs="+",
        default=[],
        metavar="YAML",
        help="Configuration files, merged left to right.",
    )
    parser.add_argument(
        "--mode",
        "-m",
        nargs="+",
        choices=MODES,
        default=list(MODES),
        help="Splits to check, some of train, valid and test. Default: all.",
    )
    _add_files(parser)
    parser.add_argument(
        "--fast",
        action="store_true",
        help="Read the headers of files alone: no intensities, labels and scores.",
    )
    parser.add_argument(
        "--log_root",
        default="logs",
        help="Folder that runs will be written to. Default: logs.",
    )
    parser.add_argument(
        "--output",
        "-o",
        default="",
        metavar="DIR",
        help="Write check.md, cases.csv, files.csv and overview.png to this folder.",
    )
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    """Add the files of one pair."""
    for side in ("fixed", "moving"):
        parser.add_argument(f"--{side}", metavar="FILE", help=f"The {side} image.")
        parser.add_argument(
            f"--{side}-label",
            nargs="+",
            default=[],
            metavar="FILE",
            help=f"Labels of the {side} image: one file with channels, an index map, "
            "or a file for each; in the same order on both sides.",
        )


def _run(parsed: argparse.Namespace) -> tuple[Check, str]:
    """Run what the command line asks for; :return: the check and the last line."""
    folder = cli.new_run_folder(parsed.output, ".") if parsed.output else None
    if parsed.fixed:
        labels = parsed.fixed_label, parsed.moving_label
        check = check_pair(parsed.fixed, parsed.moving, *labels, fast=parsed.fast)
    elif parsed.config_path:
        check = check_config(
            parsed.config_path, parsed.mode, parsed.fast, parsed.log_root
        )
    else:
        check = check_environment(parsed.log_root)
    sys.stdout.write(check.text + "\n")
    number = check.num_problems
    closing = layout.count(number, "problem") if number else "No problem"
    if parsed.fast and (parsed.fixed or parsed.config_path):
        closing += " in the headers; voxels were not looked at"
        if parsed.config_path:
            closing += ", nor the names and options of the backbone and the losses"
    if folder is not None:
        closing += f"; the report is in {check.write(folder)}"
    return check, closing


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_check`.

    :param args: command line, None for that of the process.
    :return: exit status: 0 without problems, 1 with problems, 2 for a wrong command
        line.
    """
    parser = build_parser()
    parsed = parser.parse_args(args)
    if bool(parsed.fixed) != bool(parsed.moving):
        parser.error("--fixed and --moving: expected both or neither")
    if parsed.fixed and parsed.config_path:
        parser.error("expected --config, or --fixed and --moving, got both")
    if bool(parsed.fixed_label) != bool(parsed.moving_label):
        parser.error("--fixed-label and --moving-label: expected both or neither")
    if parsed.fixed_label and not parsed.fixed:
        parser.error("--fixed-label: expected with --fixed and --moving")
    found: list[Check] = []

    def call() -> str:
        check, closing = _run(parsed)
        found.append(check)
        return closing

    status = cli.run(call, "{}")
    return status or int(found[0].num_problems > 0)


if __name__ == "__main__":
    sys.exit(main())
