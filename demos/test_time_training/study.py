"""
Where adaptation starts, how far it goes, and what it is worth beside classical methods.

    python demos/test_time_training/study.py --from DIR            # pairs for choices
    python demos/test_time_training/study.py --form test --from DIR  # and the 40 tests

DIR is that of demo_data.py. The study resumes where it stopped; report.md in the folder
of the results has what is there. With --syn, and the package antspyx, SyN is run too,
for half a minute a pair.
"""

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from classical import DEMONS, SYN, Source
from comparison import CLASSICAL, GIVEN, rival_rows, write_report
from demo_data import HERE, prepare, read_label, read_scaled, undo_pad_or_cut

from deepreg_meta.study.command import (
    chosen_runs,
    finish,
    gather,
    open_study,
    run_chosen,
    study_parser,
)
from deepreg_meta.study.schedule import plan_runs
from deepreg_meta.study.stamp import STAMP, check_data

PLAN = HERE / "plan"
FORMS = {"smoke": ["choices.yml", "smoke.yml"], "choices": ["choices.yml"],
         "test": ["choices.yml", "test.yml"],
         "long": ["choices.yml", "test.yml", "long.yml"],
         "field": ["choices.yml", "field.yml"]}  # fmt: skip
LABELS = {"anterior": 1, "posterior": 2}
PACKED = (STAMP, CLASSICAL)


def peer_rows(source: Path) -> pd.DataFrame:
    """
    Read what classical methods reached on the 40 tests, measured elsewhere.

    :param source: folder `hippocampus`, with peers_40.json or without.
    :return: rows as of a study's methods; their seconds are another machine's, and
        their labels are taken for those of the nearest voxel.
    """
    path = source / "peers_40.json"
    if not path.is_file():
        return pd.DataFrame()
    rows = []
    for method, cases in json.loads(path.read_text())["methods"].items():
        for case in cases:
            both = case["dice1"], case["dice2"]
            rows.append(
                {
                    "method": f"{method} {GIVEN}",
                    "case": case["test"],
                    "dice_nearest": sum(both) / 2,
                    "positive": 100.0 - case["nonpositive_jacobian_percent"],
                    "cpu_seconds": case["cpu_s"],
                }
            )
    return pd.DataFrame(rows).assign(test="test", adaptation="", seed=0)


def main(args: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report."""
    parser = study_parser(__doc__.split("\n\n")[0], list(FORMS), "choices")
    parser.add_argument("--syn", action="store_true", help="run ANTs SyN too")
    parser.set_defaults(output=HERE / "logs", data_dir=HERE / "dataset")
    parsed = parser.parse_args(args)
    if parsed.syn and importlib.util.find_spec("ants") is None:
        parser.error("--syn: expected the package antspyx, which is not installed.")
    if not parsed.source and not parsed.report:
        parser.error("--from: expected a folder with hippocampus/, got none.")
    plan = [PLAN / name for name in FORMS[parsed.form]]
    output, data_dir = open_study(parser, parsed, HERE, PACKED, plan)
    data = data_dir / "hippocampus"
    runs = plan_runs(plan, data_dir.resolve())
    failures: dict[str, str] = {}
    methods: list[str] = []
    if not parsed.report:
        try:
            prepare(parsed.source / "hippocampus", data)
        except ValueError as err:
            parser.error(str(err))
        check_data(data, output)
        methods = [DEMONS, *([SYN] if parsed.syn else [])]
        chosen = chosen_runs(parser, parsed, plan, data_dir)
        failures = run_chosen(parsed, chosen, output)
    rows = gather(parser, parsed, runs, output)
    if len(rows):
        folders = {name: Path(path) for run in runs for name, path in run.tests.items()}
        tests = {name: folders[name] for name in dict.fromkeys(rows["test"])}
        source = Source(read_scaled, read_label, LABELS, restore=undo_pad_or_cut)
        classical = rival_rows(tests, source, output, methods)
        peers = peer_rows((parsed.source or Path()) / "hippocampus")
        others = pd.concat([classical, peers])
        page = write_report(rows, others, output, runs, list(LABELS))
        print(f"The report is in {page}")
    return finish(parsed, runs, output, failures, PACKED)


if __name__ == "__main__":
    sys.exit(main())
