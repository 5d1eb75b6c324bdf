"""What a check has found: problems, which a run would trip over, and warnings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["problem", "warning"]


@dataclass(frozen=True)
class Finding:
    """
    One thing that is wrong, or that looks so.

    :param level: problem: training or registration fails on it, or gives wrong
        results; warning: it may be meant so.
    :param title: what kind of thing, a few words; findings of one title are counted
        together.
    :param text: where, the rule, the value received, what to do.
    """

    level: Level
    title: str
    text: str


@dataclass
class Section:
    """
    A table of a report, with lines of text below it.

    :param title: heading.
    :param header: names of the columns, () for a section of notes alone.
    :param rows: cells as text.
    :param notes: lines below the table.
    """

    title: str
    header: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    notes: Sequence[str] = ()


def problems(title: str, texts: Iterable[str]) -> list[Finding]:
    """Return a problem for each text."""
    return [Finding("problem", title, text) for text in texts]


def warnings(title: str, texts: Iterable[str]) -> list[Finding]:
    """Return a warning for each text."""
    return [Finding("warning", title, text) for text in texts]


def of_level(findings: Iterable[Finding], level: Level) -> dict[str, list[str]]:
    """
    Gather the findings of a level by their titles.

    :param findings: of a check.
    :param level: problem or warning.
    :return: title -> texts, in the order of first appearance, repetitions left out.
    """
    gathered: dict[str, list[str]] = {}
    for finding in findings:
        if finding.level == level:
            texts = gathered.setdefault(finding.title, [])
            if finding.text not in texts:
                texts.append(finding.text)
    return gathered
