"""What the scripts of studies have in common: their flags, how they run and end."""

import argparse
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from deepreg_meta.config import ConfigError
from deepreg_meta.results.folder import TakenError, claimed
from deepreg_meta.study.archive import pack_runs, unpack_runs
from deepreg_meta.study.folder import RUNS, clear_leftovers, gather_rows
from deepreg_meta.study.plan import read_plan
from deepreg_meta.study.run import run_study
from deepreg_meta.study.schedule import Run, check_chosen, plan_runs
from deepreg_meta.study.stamp import STAMP

logger = logging.getLogger(__name__)


def study_parser(
    description: str, forms: Sequence[str], default: str
) -> argparse.ArgumentParser:
    """
    Return a parser with the flags of every study.

    :param description: one line.
    :param forms: names of the forms of the study.
    :param default: form without the flag.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--form", choices=list(forms), default=default)
    parser.add_argument("--from", dest="source", type=Path, help="folder of data")
    parser.add_argument("--only", help="methods, separated by commas")
    parser.add_argument("--data", help="data of the plan, separated by commas")
    parser.add_argument("--part", help='"main" or sweeps, separated by commas')
    parser.add_argument("--jobs", type=int, help="runs at a time; default: one for "
                        "each core of the CPU, one on a GPU")  # fmt: skip
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument("--data-dir", type=Path, help="folder of the prepared data")
    parser.add_argument("--gpu", default="", help='such as "0"; "" is the CPU')
    parser.add_argument("--unpack", type=Path, help="take in finished runs first")
    parser.add_argument("--pack", type=Path, help="write finished runs to this ZIP "
                        "file at the end, without weights")  # fmt: skip
    parser.add_argument("--report", action="store_true",
                        help="run nothing, only write the report")  # fmt: skip
    return parser


def words(text: str | None) -> list[str] | None:
    """Split the value of a flag at its commas; None stays None."""
    return text.split(",") if text else None


def open_study(
    parser: argparse.ArgumentParser,
    parsed: argparse.Namespace,
    here: Path,
    packed: Sequence[str],
    plan: Sequence[Path],
) -> tuple[Path, Path]:
    """
    Find the folders of a study, and take in what was packed.

    Ends the script, with nothing written, where a flag names what the plan does not
    have, the folder of the results holds anything else, or the packed file is none.

    :param parser: of `study_parser`.
    :param parsed: its flags.
    :param here: folder of the script, in which the others are without their flags.
    :param packed: as `extra` of `archive.unpack_runs`.
    :param plan: its files.
    :return: folder of the results, and that of the data.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = parsed.output or here / f"logs_{parsed.form}"
    if parsed.jobs is not None and parsed.jobs < 1:
        parser.error(f"--jobs: expected a number >= 1, got {parsed.jobs}.")
    _check_choices(parser, parsed, plan)
    held = [path.name for path in output.glob("*")] if output.is_dir() else []
    if output.is_file() or (held and not {RUNS, STAMP} & set(held)):
        what = f"with {sorted(held)[0]}" if held else "a file"
        parser.error(
            f"--output: expected a new or empty folder, or that of a study, got "
            f"{output}, {what}."
        )
    if parsed.unpack:
        try:
            unpack_runs(parsed.unpack, output, packed)
        except ValueError as err:
            parser.error(f"--unpack: {err}")
    return output, parsed.data_dir or here / "dataset" / f"study_{parsed.form}"


def _check_choices(
    parser: argparse.ArgumentParser, parsed: argparse.Namespace, plan: Sequence[Path]
) -> None:
    """End the script where flags choose what is not in the plan, or where none runs."""
    chosen = {"--only": parsed.only, "--data": parsed.data, "--part": parsed.part}
    for flag, text in chosen.items():
        if text and parsed.report:
            parser.error(f"{flag}: expected none with --report, which runs nothing.")
    try:
        check_chosen(read_plan(plan), *map(words, chosen.values()))
    except ConfigError as err:
        parser.error(str(err))


def data_with(plan: Sequence[Path], found: Collection[str]) -> list[str]:
    """
    Name the data of a plan whose folders are there.

    :param plan: its files.
    :param found: names of the folders that were prepared.
    """
    entries = read_plan(plan).data.items()
    return [name for name, e in entries if Path(e["train"]).parts[0] in found]


def check_source(
    parser: argparse.ArgumentParser, parsed: argparse.Namespace, data_dir: Path
) -> None:
    """
    End the script where a form that is to be reported would run on made-up images.

    :param parser: of `study_parser`; its default form may run on them.
    :param parsed: its flags.
    :param data_dir: folder of the prepared data, which may be there already.
    """
    is_made_up = parsed.form == parser.get_default("form")
    if not (parsed.source or is_made_up or (data_dir / STAMP).is_file()):
        parser.error(f"--from: expected a folder of data with --form {parsed.form}.")


def chosen_runs(
    parser: argparse.ArgumentParser,
    parsed: argparse.Namespace,
    plan: Sequence[Path],
    data_dir: Path,
    found: Collection[str] | None = None,
    parts: Collection[str] | None = None,
) -> list[Run]:
    """
    List the runs that the flags ask for; end the script where they name what is not.

    :param parser: of `study_parser`.
    :param parsed: its flags.
    :param plan: its files.
    :param data_dir: folder of the prepared data.
    :param found: data of the plan that were prepared; None is all.
    :param parts: those to run without the flag; None is all.
    :return: of `plan_runs`.
    """
    data = words(parsed.data) or found
    missing = [name for name in data or () if found is not None and name not in found]
    if missing:
        parser.error(
            f"--data: expected some of {', '.join(found or ())}, got {missing[0]!r}."
        )
    only, wanted = words(parsed.only), words(parsed.part) or parts
    try:
        return plan_runs(plan, data_dir.resolve(), only, data, wanted)
    except ConfigError as err:
        parser.error(str(err))


def run_chosen(
    parsed: argparse.Namespace, chosen: Sequence[Run], output: Path
) -> dict[str, str]:
    """
    Run those of the chosen runs that are missing.

    :param parsed: flags of `study_parser`.
    :param chosen: of the plan.
    :param output: folder of the study.
    :return: as of `run.run_study`.
    :raises SystemExit: with status 130 after an interruption, and with 2 where another
        study is writing to the folder.
    """
    jobs = parsed.jobs or (1 if parsed.gpu else os.cpu_count() or 1)
    output.mkdir(parents=True, exist_ok=True)
    told = f"--output: another study is writing to {output}. Choose another folder."
    try:
        with claimed(output, told):
            clear_leftovers(output)
            return run_study(chosen, output, gpu=parsed.gpu, jobs=jobs)
    except TakenError as err:
        logger.error("%s", err)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        logger.error("Interrupted. What is done is kept; the same command goes on.")
        raise SystemExit(130) from None


def gather(
    parser: argparse.ArgumentParser,
    parsed: argparse.Namespace,
    runs: Sequence[Run],
    output: Path,
) -> pd.DataFrame:
    """
    Return the rows of all finished runs; end the script where a report has none.

    :param parser: of `study_parser`.
    :param parsed: its flags.
    :param runs: of the plan; what was not chosen may still be there.
    :param output: folder of the study.
    """
    rows = gather_rows(runs, output)
    if not len(rows) and parsed.report:
        parser.error(f"--report: expected finished runs in {output}, found none.")
    return rows


def finish(
    parsed: argparse.Namespace,
    runs: Sequence[Run],
    output: Path,
    failures: Mapping[str, str],
    extra: Sequence[str] = (),
) -> int:
    """
    Pack what is finished, if that is wanted, and tell what failed.

    :param parsed: flags of `study_parser`.
    :param runs: of the plan.
    :param output: folder of the study.
    :param failures: reason by the name of a run.
    :param extra: as of `archive.pack_runs`.
    :return: exit status of the script: 1 after a failure, else 0.
    :raises ValueError: when nothing is there to be packed.
    """
    if parsed.pack:
        number = pack_runs(runs, output, parsed.pack, extra)
        logger.info("%d runs are packed in %s.", number, parsed.pack)
    for name, reason in failures.items():
        logger.error("%s failed: %s", name, reason)
    return 1 if failures else 0
