"""The part of a report on methods: how each number in it is defined."""

from collections.abc import Iterator, Sequence

from deepreg_meta.evaluate.columns import describe_column
from deepreg_meta.evaluate.page.document import (
    Block,
    Definitions,
    Heading,
    Paragraph,
)
from deepreg_meta.evaluate.page.measure import STAGE_ORDER, definition_of, measure_of
from deepreg_meta.evaluate.page.study import Study

_STATISTICS = (
    ("SD", "standard deviation of the sample (n - 1)"),
    ("IQR", "lower to upper quartile, by linear interpolation"),
    (
        "box plots",
        "box: quartiles and median; whiskers: 10th and 90th percentile; a point for "
        "every case",
    ),
    (
        "mean difference",
        "method minus baseline, over the pairs: the cases for which both have a value",
    ),
    (
        "95 % interval",
        "of the mean difference: percentile bootstrap over cases, 10 000 resamples, "
        "fixed seed (Efron and Tibshirani 1993)",
    ),
    ("t-test p", "paired t-test of the differences, two-tailed"),
    ("Wilcoxon p", "Wilcoxon signed-rank test of the differences, two-tailed"),
    (
        "left out",
        "cases for which only one of the two, method or baseline, has a value",
    ),
    (
        "Holm",
        "the p value of the test, corrected by Holm's step-down method for the number "
        "of methods that are compared with the baseline in this metric; metrics are "
        "not corrected for each other",
    ),
    ("better", "number of cases in which the method is better than the baseline"),
)
_FILES = (
    ("report.md, report.html", "this report"),
    ("cases.csv", "every number of every run in a line of its own"),
    ("summary.csv", "n, mean, SD, median and quartiles of every method and metric"),
    ("comparisons.csv", "the comparisons with the baseline"),
    ("plots", "the plots as SVG"),
)


def describe_methods(studies: Sequence[Study]) -> Iterator[Block]:
    """
    Define every number of the report.

    :param studies: one for each split.
    :return: blocks.
    """
    yield Heading(2, "How each number is defined")
    yield Heading(3, "Stages")
    stages = {method.stage for study in studies for method in study.methods}
    yield Definitions([(s, _text_of(s)) for s in STAGE_ORDER if s in stages])
    yield Heading(3, "Measures")
    pairs = dict.fromkeys(
        pair
        for study in studies
        for level in ("cases", "labels", "landmarks")
        for pair in study.metrics(level)
    )
    yield Definitions(
        [(measure_of(*pair).title, definition_of(*pair)) for pair in pairs]
    )
    if any(measure_of(*pair).scale != 1 for pair in pairs):
        yield Paragraph("Shares are printed in percent; the CSV files hold shares.")
    yield Heading(3, "Statistics")
    yield Definitions(_STATISTICS)
    yield Heading(3, "Files beside this page")
    yield Definitions(_FILES)


def _text_of(stage: str) -> str:
    """Say what a stage is, as the documentation of the columns does."""
    return describe_column(f"folds_{stage}").split("; ", 1)[1]
