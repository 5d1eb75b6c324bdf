"""
Pre-training over several domains, then fine-tuning on one that is not among them.

    python demos/multi_domain/study.py                        # smoke, made up images
    python demos/multi_domain/study.py --form reduced --from DIR

DIR is that of demo_data.py. The study resumes where it stopped; report.md in the folder
of the results has what is there. Without --part the main part is run, and no sweep,
which are for choices.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from demo_data import DOMAINS, HERE, prepare

from deepreg_meta.study.command import (
    check_source,
    chosen_runs,
    finish,
    gather,
    open_study,
    run_chosen,
    study_parser,
)
from deepreg_meta.study.example import EXAMPLE, draw_examples
from deepreg_meta.study.figure import epoch_curves
from deepreg_meta.study.folder import LAST
from deepreg_meta.study.plan import image_side, read_plan
from deepreg_meta.study.reach import epoch_means, epochs_to_reach
from deepreg_meta.study.report import loss_parts, opening, sweep_parts, write_page
from deepreg_meta.study.schedule import MAIN, Run, plan_runs
from deepreg_meta.study.stamp import STAMP, check_data
from deepreg_meta.study.table import (
    compare_quantities,
    main_rows,
    markdown,
    method_table,
)

PLAN = HERE / "plan"
FORMS = {"smoke": ["reduced.yml", "smoke.yml"], "reduced": ["reduced.yml"],
         "choices": ["reduced.yml", "choices.yml"],
         "landmarks": ["reduced.yml", "landmarks.yml"]}  # fmt: skip
STARTS = ("pooled", "meta")  # what others start from is no strategy
OURS, PLAIN, START_OF_PLAIN = "ours", "fine_tune", "transfer"
FEW = 10  # epochs of fine-tuning, those of the paper's Table 1
LANDMARKS = "epe_label"  # how far points are mapped from where they truly are
SURFACES = ("asd", "hd95", "dice")  # of structures, which points are not
# heading -> (column, digits, factor)
COLUMNS = {
    "landmarks (px)": (LANDMARKS, 3, 1.0),
    "ASD (px)": ("asd", 3, 1.0),
    "HD95 (px)": ("hd95", 2, 1.0),
    "Dice (%)": ("dice", 2, 100.0),
    "NCC": ("ncc", 3, 1.0),
    "loss": ("loss", 4, 1.0),
    "det > 0 (%)": ("positive", 2, 1.0),
}
# quantity -> (column, whether more (1) or less (-1) of it is better)
REACHED = {"landmarks": (LANDMARKS, -1), "ASD": ("asd", -1), "Dice": ("dice", 1),
           "NCC": ("ncc", 1), "loss": ("loss", -1)}  # fmt: skip
# panels of the paper's Fig. 3, and Dice
CURVES = {
    "landmark distance (px)": (LANDMARKS, 1.0),
    "mean surface distance (px)": ("asd", 1.0),
    "Dice (%)": ("dice", 100.0),
    "NCC": ("ncc", 1.0),
    "loss of the test pairs": ("loss", 1.0),
}


def plan_of(form: str) -> list[Path]:
    """Return the files of a form's plan."""
    return [PLAN / name for name in FORMS[form]]


def needed_domains(form: str) -> set[str]:
    """Return the domains that a form trains on or tests on."""
    plan = read_plan(plan_of(form))
    sources = [entry.get("sources", plan.domains) for entry in plan.data.values()]
    return {name for names in sources for name in names} | set(plan.data)


def by_test(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """
    Part the rows by their test sets.

    :param rows: of a study.
    :return: names of the test sets, which are those of domains, and their rows: with
        distances of points where the labels are points, of surfaces where they are not.
    """
    for test, own in rows.groupby("test", sort=False):
        others = SURFACES if DOMAINS[str(test)].landmarks else (LANDMARKS,)
        left_out = [name for name in own if name.removesuffix("_before") in others]
        yield str(test), own.drop(columns=left_out)


def with_epochs(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Tell methods apart by the epoch of their checkpoint too.

    :param rows: of a study.
    :return: a copy whose methods are such as "ours, 10 epochs".
    """
    epochs = rows["epoch"].map(
        lambda epoch: "" if epoch == LAST else f", {epoch} epochs"
    )
    return rows.assign(method=rows["method"] + epochs)


def table_1(rows: pd.DataFrame) -> list[tuple[str, int]]:
    """
    List the lines of the paper's Table 1.

    :param rows: of the main part and of one test set.
    :return: methods and epochs, of those that have rows: each strategy at its end, and
        those that are fine-tuned before it and after `FEW` epochs too.
    """
    wanted = []
    known = ["model_seen", "model_unseen", "transfer", PLAIN, OURS]
    for method in dict.fromkeys([*known, *rows["method"]]):
        epochs = sorted(set(rows.loc[rows["method"] == method, "epoch"]))
        if _is_tuned(method):
            wanted += [(method, e) for e in epochs[:-1] if e in (0, _few(rows))]
        wanted += [(method, e) for e in epochs[-1:]]
    return wanted


def _few(rows: pd.DataFrame) -> int:
    """Return `FEW`, or of a form that has no such checkpoint the second one."""
    epochs = sorted(set(rows.loc[rows["method"].map(_is_tuned), "epoch"]))
    return FEW if FEW in epochs or not epochs else epochs[min(1, len(epochs) - 1)]


def _is_tuned(method: str) -> bool:
    """Say whether a strategy ends with fine-tuning."""
    return method.startswith((PLAIN, OURS))


def result_table(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Describe every strategy on one test set, and the pairs before registration.

    :param rows: of the main part and of one test set.
    """
    first = rows[(rows[["method", "seed", "epoch"]] == rows[
        ["method", "seed", "epoch"]].iloc[0]).all(axis=1)]  # fmt: skip
    before = first[["case", "test"]].assign(
        method="none", seed=0, epoch=LAST, positive=100.0
    )
    for column, _, _ in COLUMNS.values():
        if f"{column}_before" in first:
            before[column] = first[f"{column}_before"]
    parts = [before, *(_checkpoint(rows, *one) for one in table_1(rows))]
    return method_table(with_epochs(pd.concat(parts)), COLUMNS)


def _checkpoint(rows: pd.DataFrame, method: str, epoch: int) -> pd.DataFrame:
    """Return the rows of a method's checkpoint."""
    return rows[(rows["method"] == method) & (rows["epoch"] == epoch)]


def test_table(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Hold ours against the others on one test set, pair by pair.

    :param rows: as of `result_table`.
    :return: one line per quantity and comparison; p values of paired t-tests over the
        pairs, each with its mean over the seeds, as they are and by Holm's method over
        the comparisons of a quantity.
    """
    there = table_1(rows)
    few, last = (OURS, _few(rows)), max((e for m, e in there if m == OURS), default=0)
    # before any fine-tuning it is the network that it starts from, in a line of its own
    is_start = any(method == START_OF_PLAIN for method, _ in there)
    twice = [(PLAIN, 0)] if is_start else []
    others = [one for one in there if one[0] != OURS and one not in twice]
    couples = [(few, other) for other in others]
    couples += [((OURS, last), other) for other in others if other[1] == last]
    if few not in there:
        return pd.DataFrame()
    names = [(_name(*one), _name(*other)) for one, other in couples]
    quantities = {heading: column for heading, (column, _) in REACHED.items()}
    return compare_quantities(with_epochs(rows), names, quantities)


def _name(method: str, epoch: int) -> str:
    """Return what `with_epochs` calls a checkpoint."""
    return method if epoch == LAST else f"{method}, {epoch} epochs"


def epochs_table(rows: pd.DataFrame) -> pd.DataFrame:
    """
    Tell how long ours and plain fine-tuning take to what the other has soon.

    :param rows: of the main part.
    :return: one line per test set, quantity and direction: epochs that `method` needs
        to be as good as the other after `FEW`, by the mean curve and by seed; nan and a
        dash are more than were run.
    """
    lines = []
    for test, own in by_test(rows):
        few = _few(own)
        means = epoch_means(own, [column for column, _ in REACHED.values()])
        overall = means.groupby(["method", "epoch"], sort=False).mean().reset_index()
        if not {PLAIN, OURS} <= set(own["method"]):
            continue
        for method, other in ((PLAIN, OURS), (OURS, PLAIN)):
            for heading, (column, sign) in REACHED.items():
                if column not in means:
                    continue
                reference = (other, few)
                found = epochs_to_reach(
                    overall.assign(seed=0), method, reference, column, sign
                )
                seeds = epochs_to_reach(means, method, reference, column, sign)
                lines.append({
                    "test": test, "of": heading, "method": method,
                    "as good as": _name(*reference), "epochs": found.iloc[0],
                    "by seed": ", ".join(
                        "–" if pd.isna(one) else f"{one:.0f}" for one in seeds
                    ),
                })  # fmt: skip
    return pd.DataFrame(lines)


def curve_tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """
    Follow every strategy that is fine-tuned, in the mean over pairs and seeds.

    :param rows: of the main part and of one test set, as of `by_test`.
    :return: by the panel of `CURVES`, one line per strategy with a column per epoch.
    """
    tuned = rows[rows["method"].map(_is_tuned)]
    means = epoch_means(tuned, [column for column, _ in CURVES.values()])
    tables = {}
    for heading, (column, scale) in CURVES.items():
        if column in means:
            table = means.pivot_table(
                column, "method", "epoch", aggfunc="mean", sort=False
            )
            table = table[sorted(table)] * scale
            tables[heading] = table.rename_axis(columns=None).reset_index()
    return tables


def write_report(
    rows: pd.DataFrame, output: Path, runs: Sequence[Run], pages: dict[str, Path]
) -> Path:
    """
    Write the tables and draw the figures.

    :param rows: of all finished runs; at least one.
    :param output: folder of the study.
    :param runs: of the plan.
    :param pages: of the example pairs, by title.
    :return: the page of Markdown.
    """
    main, figures = main_rows(rows), output / "figures"
    parts = opening(rows, runs)
    main = main[main["method"].isin(_tested(runs))]
    epochs = epochs_table(main)
    if len(epochs):
        parts += ["## Epochs to the same result", markdown(epochs)]
    for test, own in by_test(main):
        parts += [f"## Table 1: {test}", markdown(result_table(own))]
        tests = test_table(own)
        if len(tests):
            parts += [f"## Ours, less the others: {test}", markdown(tests)]
        for heading, table in curve_tables(own).items():
            parts += [f"## After epochs of fine-tuning, {heading}: {test}"]
            parts += [markdown(table, 4)]
        means = epoch_means(own, [column for column, _ in CURVES.values()])
        shown = {k: v for k, v in CURVES.items() if v[0] in means}
        if means["method"].map(_is_tuned).any():
            levels = {_name(OURS, _few(own)): (OURS, _few(own))}
            levels |= {m: (m, e) for m, e in table_1(own) if not _is_tuned(m)}
            figure = figures / f"epochs_{test}.png"
            epoch_curves(figure, _curved(means), shown, levels, test)
            parts.append(f"![Fig. 3, {test}](figures/epochs_{test}.png)")
    for title, page in pages.items():
        parts.append(f"![Fig. 4, {title}](figures/{page.name})")
    parts += loss_parts(rows["data"], runs, output)
    columns = ("dice", "asd", "ncc", "loss", "positive")
    parts += sweep_parts(with_epochs(rows), columns)
    return write_page(parts, output)


def _tested(runs: Sequence[Run]) -> set[str]:
    """Return the strategies: the methods that are more than a start of another."""
    methods = {run.method for run in runs}
    return {name for name in methods if name.split("_")[0] not in STARTS}


def _curved(means: pd.DataFrame) -> pd.DataFrame:
    """Leave one checkpoint to methods that are trained from random weights."""
    last = means.groupby("method")["epoch"].transform("max")
    return means[means["method"].map(_is_tuned) | (means["epoch"] == last)]


def example_pages(
    runs: Sequence[Run], data_dir: Path, output: Path, gpu: str, draws: bool = True
) -> dict[str, Path]:
    """
    Register one test pair of each target by the strategies of the paper's Fig. 4.

    :param runs: of the plan.
    :param data_dir: of the domains.
    :param output: folder of the study.
    :param gpu: as of `run.run_study`.
    :param draws: as of `draw_examples`.
    :return: pages by target and strategy.
    """
    pages: dict[str, Path] = {}
    for target in dict.fromkeys(run.data for run in runs):
        own = [run for run in runs if run.data == target]
        folder, figures = data_dir / target / EXAMPLE, output / "figures"
        wanted = []
        for method in ("model_seen", "model_unseen", "transfer", PLAIN, OURS):
            checkpoints = next((r.checkpoints for r in own if r.method == method), ())
            few = FEW if FEW in checkpoints else next(iter(checkpoints[1:2]), LAST)
            wanted.append((method, "", few if method in (PLAIN, OURS) else LAST))
        drawn = draw_examples(
            own, wanted, folder, output, figures, gpu=gpu, draws=draws
        )
        pages |= {f"{target}: {title}": page for title, page in drawn.items()}
    return pages


def main(args: Sequence[str] | None = None) -> int:
    """Run what is missing and write the report."""
    parser = study_parser((__doc__ or "").split("\n\n")[0], list(FORMS), "smoke")
    parsed = parser.parse_args(args)
    plan = plan_of(parsed.form)
    output, data_dir = open_study(parser, parsed, HERE, (STAMP,), plan)
    failures: dict[str, str] = {}
    if not parsed.report:
        check_source(parser, parsed, data_dir)
        found = prepare(parsed.source, data_dir, image_side(plan))
        missing = sorted(needed_domains(parsed.form) - set(found))
        if missing:
            parser.error(
                f"--from: expected the data of every domain, found none of "
                f"{', '.join(missing)} in {parsed.source}."
            )
        check_data(data_dir, output)
        chosen = chosen_runs(parser, parsed, plan, data_dir, None, [MAIN])
        failures = run_chosen(parsed, chosen, output)
    runs = plan_runs(plan, data_dir.resolve())
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
