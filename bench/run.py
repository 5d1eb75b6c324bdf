"""
Run the benchmarks and write their tables: `make bench`, or

    python bench/run.py [--only steps,parts] [--quick] [--out DIR] [--fresh]

Each part is written as soon as it is done; the next run with the same folder goes on
after it. Run it while nothing else runs.
"""

import argparse
import contextlib
import importlib
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from timing import machine
from tqdm import tqdm

# parts in the order of the report, with the minutes that they may take on two cores
PARTS = {
    "steps": 25,
    "parts": 6,
    "warping": 3,
    "losses": 3,
    "layer": 3,
    "onednn": 6,
    "adaptation": 11,
    "episodes": 10,
    "memory": 15,
    "startup": 3,
}
RESULTS = Path(__file__).with_name("results")
REPORT = "report.md"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument(
        "--only",
        type=read_parts,
        default=list(PARTS),
        metavar="PART,...",
        help=f"Some of {', '.join(PARTS)}. Default: all.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Tiny sizes and no XLA, to see that everything runs. Without --out its "
        "tables are only shown.",
    )
    parser.add_argument(
        "--out", type=read_folder, help="Folder of the tables. Default: bench/results."
    )
    parser.add_argument(
        "--fresh", action="store_true", help="Measure finished parts once more."
    )
    return parser


def read_parts(text: str) -> list[str]:
    """
    Read --only.

    :param text: names with commas between them.
    :return: the parts, in the order of the report.
    :raises argparse.ArgumentTypeError: for another name.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(PARTS)}, got {name!r}"
            )
    return [name for name in PARTS if name in names]


def read_folder(text: str) -> Path:
    """
    Read --out.

    :param text: a path.
    :return: the folder, which need not exist.
    :raises argparse.ArgumentTypeError: for no name, or that of a file.
    """
    if not text or any(path.is_file() for path in (Path(text), *Path(text).parents)):
        raise argparse.ArgumentTypeError(f"expected a folder, got {text!r}")
    return Path(text)


def run_parts(names: Sequence[str], quick: bool, folder: Path, fresh: bool) -> list:
    """
    Run parts, one after the other, and write each when it is done.

    :param names: of `PARTS`.
    :param quick: a smoke test.
    :param folder: of the tables.
    :param fresh: run finished parts too.
    :return: names of the parts that failed.
    """
    failed = []
    todo = [name for name in names if fresh or not (folder / f"{name}.md").exists()]
    kept = [name for name in names if name not in todo]
    if kept:
        print(
            f"Measured before and kept: {', '.join(kept)}. --fresh measures once more.",
            file=sys.stderr,
        )
    bar = tqdm(
        total=sum(PARTS[name] for name in todo),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} < {remaining}",
        dynamic_ncols=True,
    )
    with bar:
        for name in todo:
            bar.set_description_str(f"bench: {name}")
            try:
                table = importlib.import_module(name).run(quick)
                table.write(folder, name)
                write_report(folder, quick)
            except Exception:  # the other parts are worth having without this one
                failed.append(name)
                tqdm.write(traceback.format_exc(), file=sys.stderr)
            bar.update(PARTS[name])
    return failed


def is_of_other_kind(folder: Path, quick: bool) -> bool:
    """Whether a folder holds tables of quick runs and this is none, or the reverse."""
    report = folder / REPORT
    if not report.exists():
        return False
    return ("--quick" in report.read_text().splitlines()[0]) != quick


def write_report(folder: Path, quick: bool) -> Path:
    """Write one Markdown file with the machine, the command and all tables so far."""
    command = "make bench" if not quick else "python bench/run.py --quick"
    found = [name for name in PARTS if (folder / f"{name}.md").exists()]
    texts = [(folder / f"{name}.md").read_text() for name in found]
    given = {**machine(), "parts": ", ".join(found)}
    facts = "\n".join(f"- {name}: {value}" for name, value in given.items())
    report = folder / REPORT
    head = f"# Results of `{command}`\n\n{facts}\n\n"
    report.write_text(head + "\n".join(texts))
    return report


def main(args: Sequence[str] | None = None) -> int:
    """
    Run the benchmarks.

    :param args: command line, None for that of the process.
    :return: exit status, 1 when a part failed, 130 when interrupted.
    """
    parsed = build_parser().parse_args(args)
    with tempfile.TemporaryDirectory() as temporary:
        shown_only = parsed.quick and parsed.out is None
        folder = Path(temporary) if shown_only else parsed.out or RESULTS
        if is_of_other_kind(folder, parsed.quick):
            kind = "full" if parsed.quick else "--quick"
            print(
                f"--out {folder}: expected a folder without results of a {kind} run. "
                "Choose another one.",
                file=sys.stderr,
            )
            return 2
        try:  # before an hour of measuring
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as err:
            print(f"--out: expected a folder to write to, got {err}.", file=sys.stderr)
            return 2
        try:
            failed = run_parts(parsed.only, parsed.quick, folder, parsed.fresh)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                folder.rmdir()  # if nothing is in it
            kept = f"finished parts stay in {folder}"
            kept = kept if (folder / REPORT).exists() else "no part was finished"
            print(f"Interrupted: {kept}.", file=sys.stderr)
            return 130
        if (folder / REPORT).exists():
            print((folder / REPORT).read_text())
        if not shown_only and (folder / REPORT).exists():
            print(f"The tables are in {folder}.")
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
