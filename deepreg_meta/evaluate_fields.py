"""
Score displacement fields, ours or another method's:

    deepreg_evaluate --protocol physical --cases pairs.csv --fields fields --output out

No TensorFlow is needed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from deepreg_meta import arguments
from deepreg_meta import command_line as cli

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepreg_meta.evaluate.protocol.pairs import Pair, Pairs
    from deepreg_meta.evaluate.protocol.scores import Row, Scores

_EPILOG = """\
example: deepreg_evaluate --protocol learn2reg --cases LungCT_dataset.json \\
             --fields submission --output scores

A CSV table has a line per pair and the columns fixed and moving (images) and, as far
as there are such, case, fixed_label, moving_label (index maps), fixed_landmarks,
moving_landmarks and field. Landmarks are files of 3D Slicer (.mrk.json, .fcsv), CSV
with named columns, or, as the challenge's, CSV of three numbers a line: voxel
coordinates. Fields without a column are found as disp_<fixed>_<moving>.nii.gz, .npz
or .h5.

learn2reg  equal to the challenge's scorer, quirks included: not in mm, no true folding.
physical   in mm through the headers, any grids, with true folding.
"""


@dataclass(frozen=True)
class Protocol:
    """
    A way of scoring.

    :param check: looks at a pair's files before anything is scored.
    :param score: scores a pair.
    :param read_label: reads the values of a label.
    :param summarize: sums up the rows of the cases.
    :param notes: of the protocol, for the summary.
    """

    check: Callable[["Pair", "Pairs"], list[str]]
    score: Callable[["Pair", "Pairs"], "Scores"]
    read_label: Callable[[Path], "NDArray[np.number]"]
    summarize: Callable[[Sequence["Row"]], list["Row"]]
    notes: str


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = arguments.new_parser(
        "deepreg_evaluate", "Score displacement fields of any method.", _EPILOG
    )
    parser.add_argument(
        "--protocol",
        required=True,
        choices=("learn2reg", "physical"),
        help="How to score.",
    )
    parser.add_argument(
        "--cases",
        required=True,
        metavar="TABLE",
        help="CSV table of the pairs, or the challenge's <TASK>_dataset.json or "
        "*_evaluation_config.json.",
    )
    parser.add_argument(
        "--fields",
        metavar="DIR",
        help="Folder of the fields. Default: that of the data.",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="Folder that the paths of the table start from. Default: the table's.",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="Folder of the results."
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        type=int,
        metavar="N",
        help="Values of the labels that count, such as 1 2 3. Default: those of the "
        "evaluation configuration, else all.",
    )
    parser.add_argument(
        "--split",
        choices=("val", "test"),
        help="Pairs of a data set. Default: val, or test where that is alone.",
    )
    parser.add_argument(
        "--masked",
        action="store_true",
        help="LogJacDetStd inside the fixed image's mask alone, as the challenge has "
        "it for LungCT and NLST. Default: as the evaluation configuration says.",
    )
    return parser


def evaluate(
    protocol: str,
    cases: str | Path,
    output: str | Path,
    fields: str | Path | None = None,
    data: str | Path | None = None,
    labels: Sequence[int] | None = None,
    split: str | None = None,
    masked: bool = False,
) -> Path:
    """
    Score the fields of a table of pairs.

    :param protocol: learn2reg or physical.
    :param cases: CSV table, or one of the challenge's JSON files.
    :param output: folder of the results; files of the same protocol are replaced.
    :param fields: folder of the fields; None is that of the data.
    :param data: folder that the paths of the table start from; None is the table's.
    :param labels: values that count; None takes those of a configuration, else all.
    :param split: val or test, for a data set of the challenge.
    :param masked: LogJacDetStd inside the mask alone, for the challenge's data.
    :return: the folder of the results.
    :raises ValueError: for a table that cannot be used, and, before anything is scored,
        for all files that are missing or cannot be used and all `labels` that no pair
        has.
    :raises FileNotFoundError: when there is no such table.
    """
    from deepreg_meta.evaluate.protocol.files import write_results

    chosen = _protocol(protocol)
    folder = Path(output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output: expected a folder, got the file {folder}.")
    if masked and protocol != "learn2reg":
        raise ValueError(
            "--masked: expected --protocol learn2reg, whose LogJacDetStd it restricts, "
            f"got {protocol}."
        )
    pairs = read_pairs(cases, fields, data, labels, split, masked)
    _check(chosen, pairs, labels)
    folder.mkdir(parents=True, exist_ok=True)
    scores = [
        chosen.score(pair, pairs)
        for pair in tqdm(pairs.pairs, "scoring", unit="pair", disable=None)
    ]
    summary = chosen.summarize([own.case for own in scores])
    notes = f"{pairs.name}, {len(scores)} pairs. {chosen.notes}"
    text = write_results(folder, protocol, scores, summary, notes)
    tqdm.write(f"{pairs.name}, protocol {protocol}\n{text}")
    return folder


def read_pairs(
    cases: str | Path,
    fields: str | Path | None,
    data: str | Path | None,
    labels: Sequence[int] | None,
    split: str | None,
    masked: bool,
) -> "Pairs":
    """
    Read the table of pairs: see `evaluate`.

    :return: the pairs, their files not looked at.
    """
    from deepreg_meta.evaluate.protocol.challenge import read_challenge
    from deepreg_meta.evaluate.protocol.pairs import read_table

    table = Path(cases).expanduser()
    if not table.is_file():
        raise FileNotFoundError(f"--cases: expected a table, found no file {table}.")
    base = table.parent if data is None else Path(data).expanduser()
    place = None if fields is None else Path(fields).expanduser()
    for name, path in (("--data", base), ("--fields", place)):
        if path is not None and not path.is_dir():
            raise FileNotFoundError(f"{name}: expected a folder, found no {path}.")
    values = None if labels is None else tuple(labels)
    if table.suffix.lower() == ".json":
        return read_challenge(table, base, place or base, split, values, masked)
    if split or masked:
        raise ValueError(
            "--split and --masked are for the challenge's JSON files, got the table "
            f"{table}."
        )
    return read_table(table, base, place, values)


def _protocol(name: str) -> Protocol:
    from deepreg_meta.evaluate.protocol import learn2reg, physical

    if name == "learn2reg":
        return Protocol(
            learn2reg.check,
            learn2reg.score,
            learn2reg.read_label,
            learn2reg.aggregate,
            learn2reg.NOTES,
        )
    if name == "physical":
        return Protocol(
            physical.check,
            physical.score,
            physical.read_label,
            physical.aggregate,
            physical.NOTES,
        )
    raise ValueError(f"protocol: expected learn2reg or physical, got {name!r}.")


def _check(
    protocol: Protocol, pairs: "Pairs", labels: Sequence[int] | None = None
) -> None:
    """Raise one error for all that is missing or cannot be used."""
    from deepreg_meta.evaluate.protocol.labels import absent_values
    from deepreg_meta.evaluate.protocol.points import unpaired

    problems = []
    for pair in tqdm(pairs.pairs, "checking", unit="pair", disable=None):
        found = pair.missing()
        if not found:
            try:
                found = protocol.check(pair, pairs)
            except (ValueError, OSError) as err:
                found = [str(err)]
        # whatever else is wrong; the check may have come as far as to tell it, too
        found += [text for files in pair.points.values() for text in unpaired(files)]
        problems += [f"{pair.name}: {text}" for text in dict.fromkeys(found)]
    problems += absent_values(labels or (), pairs.pairs, protocol.read_label)
    if problems:
        raise ValueError(
            f"Nothing was scored: {len(problems)} problems with the files of "
            f"{len(pairs.pairs)} pairs.\n  " + "\n  ".join(problems)
        )


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_evaluate`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    options = vars(build_parser().parse_args(args))
    return cli.run(lambda: evaluate(**options), "The scores are in {}")


if __name__ == "__main__":
    sys.exit(main())
