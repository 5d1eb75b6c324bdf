"""
Frames of echocardiograms: test-time training beside demons, with known motion too.

    python demos/test_time_training/sequences.py --form smoke     # simulated, small
    python demos/test_time_training/sequences.py --from DIR

DIR is that of sequence_data.py. The study resumes where it stopped; report.md in the
folder of the results has what is there. Without --part the main part is run, and no
sweep, which are for choices.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from classical import ECHO_DEMONS, ECHO_SYN, Source
from comparison import CLASSICAL, rival_rows, write_report
from demo_data import HERE
from sequence_data import CAMUS, prepare, read_image, read_label

from deepreg_meta.study.command import (
    chosen_runs,
    finish,
    gather,
    open_study,
    run_chosen,
    study_parser,
)
from deepreg_meta.study.plan import image_side
from deepreg_meta.study.schedule import MAIN, plan_runs
from deepreg_meta.study.stamp import STAMP, check_data
from deepreg_meta.study.table import main_rows

PLAN = HERE / "plan"
FORMS = {"smoke": ["sequences.yml", "sequences_smoke.yml"],
         "sequences": ["sequences.yml"]}  # fmt: skip
# folder of each test set
FOLDERS = {
    "camus": "camus/test",
    "beat": "simulated/beat",
    "neighbours": "simulated/neighbours",
}
LABELS = {"cavity": 1, "wall": 2}
PACKED = (STAMP, CLASSICAL)


def plan_of(form: str) -> list[Path]:
    """Return the files of a form's plan."""
    return [PLAN / name for name in FORMS[form]]


def source_of(test: str) -> Source:
    """Return how the files of a test set are read, and what is scored in it."""
    is_camus = test == CAMUS
    labels = LABELS | ({"atrium": 3} if is_camus else {})
    return Source(read_image, read_label, labels, ".png" if is_camus else ".nii.gz")


def classical(
    data: Path, output: Path, tests: Sequence[str], methods: Sequence[str]
) -> pd.DataFrame:
    """
    Run classical methods on the test sets, where that has not been done.

    :param data: of sequence_data.py.
    :param output: of the study.
    :param tests: names of test sets.
    :param methods: names.
    """
    table = pd.DataFrame()
    for test in tests:
        folders = {test: data / FOLDERS[test]}
        table = rival_rows(folders, source_of(test), output, methods)
    return table


def main(args: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report."""
    parser = study_parser((__doc__ or "").split("\n\n")[0], list(FORMS), "sequences")
    parser.add_argument("--syn", action="store_true", help="run ANTs SyN too")
    parsed = parser.parse_args(args)
    if parsed.syn and importlib.util.find_spec("ants") is None:
        parser.error("--syn: expected the package antspyx, which is not installed.")
    plan = plan_of(parsed.form)
    output, data_dir = open_study(parser, parsed, HERE, PACKED, plan)
    failures: dict[str, str] = {}
    names = None
    if not parsed.report:
        try:
            names = prepare(parsed.source, data_dir, image_side(plan))
        except ValueError as err:
            parser.error(str(err))
        check_data(data_dir, output)
        chosen = chosen_runs(parser, parsed, plan, data_dir, names, [MAIN])
        failures = run_chosen(parsed, chosen, output)
    runs = plan_runs(plan, data_dir.resolve(), None, names)
    rows = gather(parser, parsed, runs, output)
    if len(rows):
        methods = [ECHO_DEMONS, *([ECHO_SYN] if parsed.syn else [])]
        methods = [] if parsed.report else methods
        tests = list(dict.fromkeys(main_rows(rows)["test"]))
        others = classical(data_dir, output, tests, methods)
        page = write_report(rows, others, output, runs, [*LABELS, "atrium"])
        print(f"The report is in {page}")
    return finish(parsed, runs, output, failures, PACKED)


if __name__ == "__main__":
    sys.exit(main())
