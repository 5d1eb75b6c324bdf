"""
Meta-registration of single pairs beside classical and conventional registration.

    python demos/meta_registration/study.py                       # smoke, no data
    python demos/meta_registration/study.py --form reduced --from DIR
    python demos/meta_registration/study.py --form reduced --from DIR --part direct

DIR is that of study_data.py. The study resumes where it stopped; report.md in the
folder of the results has what is there. Without --part the main part is run, and no
sweep, which are for choices.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from demo_data import HERE
from study_data import SOURCES, prepare

from deepreg_meta.study.command import (
    check_source,
    chosen_runs,
    data_with,
    finish,
    gather,
    open_study,
    run_chosen,
    study_parser,
)
from deepreg_meta.study.example import EXAMPLE, draw_examples
from deepreg_meta.study.figure import method_boxes, time_curves
from deepreg_meta.study.folder import LAST
from deepreg_meta.study.reach import mean_curves, reach_table
from deepreg_meta.study.report import loss_parts, opening, sweep_parts, write_page
from deepreg_meta.study.schedule import MAIN, Run, plan_runs
from deepreg_meta.study.stamp import STAMP, check_data
from deepreg_meta.study.table import (
    compare_quantities,
    main_rows,
    markdown,
    method_table,
    with_adaptations,
)

PLAN = HERE / "plan"
FORMS = {"smoke": ["reduced.yml", "smoke.yml"], "reduced": ["reduced.yml"],
         "full": ["reduced.yml", "full.yml"]}  # fmt: skip
PAPER, STRONG = ("direct", "sgd-3000"), ("direct", "adam-100")  # classical registration
OURS = ("meta", "5-updates")
CONVENTIONAL = ("localnet", "voxelmorph")  # trained otherwise, adapted in the same way
# the rows of the paper's Table 1, and what stands beside them here
TABLE_1 = [
    PAPER, STRONG, ("localnet", "none"), ("voxelmorph", "none"), ("meta", "none"), OURS,
    ("localnet", "5-updates"), ("voxelmorph", "5-updates"), ("random", "5-updates"),
    ("random", "20-updates"),
]  # fmt: skip
EXAMPLES = [PAPER, STRONG, ("localnet", "none"), ("voxelmorph", "none"),
            ("meta", "none"), OURS]  # fmt: skip
# heading -> (column, digits, factor)
COLUMNS = {
    "gland": ("dice_gland", 2, 100.0),
    "anterior": ("dice_anterior", 2, 100.0),
    "posterior": ("dice_posterior", 2, 100.0),
    "Dice (%)": ("dice", 2, 100.0),
    "HD95, anterior": ("hd95_anterior", 2, 1.0),
    "HD95, posterior": ("hd95_posterior", 2, 1.0),
    "HD95": ("hd95", 2, 1.0),
    "EPE in the labels (voxels)": ("epe_label", 2, 1.0),
    "EPE (voxels)": ("epe", 2, 1.0),
    "det > 0 (%)": ("positive", 2, 1.0),
    "CPU s": ("cpu_seconds", 2, 1.0),
}
TESTED = {"Dice": "dice", "HD95": "hd95", "EPE in the labels": "epe_label",
          "loss": "loss"}  # fmt: skip
# what no network takes part in: stage of the rows -> its line in the table
WITHOUT = {"before": "none", "centroids": "gland centroids (uses labels)"}


def plan_of(form: str) -> list[Path]:
    """Return the files of a form's plan."""
    return [PLAN / name for name in FORMS[form]]


def named(pair: tuple[str, str]) -> str:
    """Return what tables call a method and its adaptation."""
    return ", ".join(pair)


def before_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Return the rows of what is there without registration, from those of any method.

    :param rows: of one test set.
    :return: of no alignment at all; where the scores are there, of the centroids of the
        first structure aligned too, which looks at the labels.
    """
    keys = ["method", "adaptation", "seed"]
    one = rows[(rows[keys] == rows[keys].iloc[0]).all(axis=1)]
    tables = []
    for stage, method in WITHOUT.items():
        measured = {
            column.removesuffix(f"_{stage}"): one[column]
            for column in one
            if column.endswith(f"_{stage}") and one[column].notna().any()
        }
        if measured:
            head = {"method": method, "adaptation": "", "seed": 0, "positive": 100.0}
            tables.append(one[["case", "test"]].assign(**head, **measured))
    return pd.concat(tables)


def table_1(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Return the paper's Table 1 on one test set.

    :param rows: of the main part and of one test set.
    :return: one line per method that has rows, in the order of `TABLE_1`.
    """
    every = with_adaptations(rows)
    parts = [every[every["method"] == named(pair)] for pair in TABLE_1]
    return method_table(pd.concat([before_rows(rows), *parts]), COLUMNS)


def test_table(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Hold meta-registration with 5 updates against all others of Table 1.

    :param rows: as of `table_1`.
    :return: one line per quantity and method; p values of paired t-tests over the
        pairs, each with its mean over the seeds, as they are and by Holm's method over
        the methods.
    """
    every = with_adaptations(rows)
    couples = [(named(OURS), named(pair)) for pair in TABLE_1 if pair != OURS]
    table = compare_quantities(every, couples, TESTED)
    return table.drop(columns="ours", errors="ignore")


def equal_table(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Hold meta-registration against conventional training, adapted equally long.

    :param rows: as of `table_1`.
    :return: as of `test_table`, over the trainings that both have; one line per
        quantity, method and number of updates, over which Holm's method is too.
    """
    every = with_adaptations(rows)
    ours = rows.loc[rows["method"] == OURS[0], "adaptation"]
    couples = [
        (named((OURS[0], adaptation)), named((method, adaptation)))
        for method in CONVENTIONAL
        for adaptation in dict.fromkeys(ours)
    ]
    table = compare_quantities(every, couples, TESTED, same_seeds=True)
    return table.drop(columns="ours", errors="ignore")


def write_report(
    rows: pd.DataFrame, output: Path, runs: Sequence[Run], pages: dict[str, Path]
) -> Path:
    """
    Write the tables and draw the figures.

    :param rows: of all finished runs; at least one.
    :param output: folder of the study.
    :param runs: of the plan.
    :param pages: of the example pair, by data set and method.
    :return: the page of Markdown.
    """
    main, figures = main_rows(rows), output / "figures"
    parts = opening(rows, runs)
    for test in dict.fromkeys(main["test"]):
        parts += _test_parts(main[main["test"] == test], test, figures)
    for title, page in pages.items():
        parts.append(f"![Fig. 4, {title}](figures/{page.name})")
    parts += loss_parts(main["data"], runs, output)
    parts += sweep_parts(rows, ("dice", "hd95", "positive", "loss"))
    return write_page(parts, output)


def _test_parts(rows: pd.DataFrame, test: str, figures: Path) -> list[str]:
    """Return what the report says of one test set."""
    parts = [f"## Table 1: {test}", markdown(table_1(rows))]
    tests = test_table(rows)
    if len(tests):
        parts += [f"## {named(OURS)}, less the others: {test}", markdown(tests)]
    equal = equal_table(rows)
    if len(equal):
        heading = f"## {OURS[0]}, less the others adapted equally long: {test}"
        parts += [heading, markdown(equal)]
    curves = mean_curves(rows, ["updates", *TESTED.values()])
    parts += [f"## All numbers of updates: {test}", markdown(curves, 4)]
    parts += [f"## CPU seconds to the same Dice: {test}", markdown(reach_of(rows))]
    every = with_adaptations(rows)
    own = every[every["method"].isin([named(pair) for pair in TABLE_1])]
    for figure, column, ylabel, scale in (
        ("Fig. 2", "dice", "Dice (%)", 100.0),
        ("Fig. 3", "epe_label", "endpoint error in the labels (voxels)", 1.0),
    ):
        if len(own) and column in own and own[column].notna().any():
            name = f"{column}_{test}.png"
            method_boxes(figures / name, own, column, ylabel, test, scale)
            parts.append(f"![{figure}, {test}](figures/{name})")
    name = f"time_{test}.png"
    time_curves(figures / name, rows, title=test)
    return [*parts, f"![Dice against CPU seconds, {test}](figures/{name})"]


def reach_of(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Tell what each method costs until it is as good as some references.

    :param rows: of one test set.
    :return: as of `reach_table`; each optimiser of the classical form has a line.
    """
    curves = mean_curves(rows, list(TESTED.values()))
    pairs = zip(curves["method"], curves["adaptation"], strict=True)
    split = curves.assign(method=[_line(*pair) for pair in pairs])
    references = [(_line(*pair), pair[1]) for pair in (PAPER, STRONG, OURS)]
    return reach_table(split, references)


def _line(method: str, adaptation: str) -> str:
    """Name the curve that a method's adaptation is a point of."""
    if method != PAPER[0]:
        return method
    return f"{method} ({adaptation.split('-')[0]})"


def example_pages(
    runs: Sequence[Run], data_dir: Path, output: Path, gpu: str, draws: bool = True
) -> dict[str, Path]:
    """
    Register one pair of each data set by the methods of the paper's Figure 4.

    :param runs: of the plan.
    :param data_dir: of the data sets.
    :param output: folder of the study.
    :param gpu: as of `run.run_study`.
    :param draws: as of `draw_examples`.
    :return: pages of slices by data set and method.
    """
    pages: dict[str, Path] = {}
    for name in SOURCES:
        own = [run for run in runs if run.data in (name, f"{name}_direct")]
        folder, figures = data_dir / name / EXAMPLE, output / "figures"
        wanted = [(*pair, LAST) for pair in EXAMPLES]
        drawn = draw_examples(
            own, wanted, folder, output, figures, gpu=gpu, draws=draws
        )
        pages |= {f"{name}: {title}": page for title, page in drawn.items()}
    return pages


def main(args: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report."""
    parser = study_parser((__doc__ or "").split("\n\n")[0], list(FORMS), "smoke")
    parsed = parser.parse_args(args)
    plan = plan_of(parsed.form)
    output, data_dir = open_study(parser, parsed, HERE, (STAMP,), plan)
    failures: dict[str, str] = {}
    names = None
    if not parsed.report:
        check_source(parser, parsed, data_dir)
        found = prepare(parsed.source, data_dir, parsed.form)
        check_data(data_dir, output)
        names = data_with(plan, found)
        chosen = chosen_runs(parser, parsed, plan, data_dir, names, [MAIN])
        failures = run_chosen(parsed, chosen, output)
    runs = plan_runs(plan, data_dir.resolve(), None, names)
    rows = gather(parser, parsed, runs, output)
    if len(rows):
        pages = example_pages(
            runs, data_dir, output, parsed.gpu, draws=not parsed.report
        )
        page = write_report(rows, output, runs, pages)
        print(f"The report is in {page}")
    return finish(parsed, runs, output, failures, (STAMP,))


if __name__ == "__main__":
    sys.exit(main())
