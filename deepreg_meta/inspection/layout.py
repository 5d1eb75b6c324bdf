"""Lay a report out: for a terminal of 100 columns, and as Markdown."""

import textwrap
from collections.abc import Iterable, Sequence

from deepreg_meta.inspection.finding import Finding, Level, Section, of_level

WIDTH = 100
_MAX_TEXTS: dict[Level, int] = {"problem": 10, "warning": 3}
_CLEAN = "Nothing was found that would stop a run."


def terminal(sections: Iterable[Section], findings: Sequence[Finding]) -> str:
    """
    Write a report for the terminal.

    :param sections: tables.
    :param findings: listed at the end, problems first, with their numbers; of many
        findings of one kind some are shown.
    :return: lines of at most 100 columns, but for long paths in findings; without a
        final line break.
    """
    blocks = []
    for section in sections:
        lines = [section.title, *_table(section)]
        for note in section.notes:
            lines += textwrap.wrap(
                note, WIDTH, initial_indent="  ", subsequent_indent="  "
            )
        blocks.append("\n".join(lines))
    for level, shown in _MAX_TEXTS.items():
        lines = _listed(findings, level, shown)
        if lines:
            blocks.append("\n".join(lines))
    if not findings:
        blocks.append(_CLEAN)
    return "\n\n".join(blocks)


def markdown(sections: Iterable[Section], findings: Sequence[Finding]) -> str:
    """
    Write a report as Markdown, with all findings.

    :param sections: tables.
    :param findings: of the check.
    :return: text with a final line break.
    """
    lines: list[str] = []
    for level in _MAX_TEXTS:
        gathered = of_level(findings, level)
        if gathered:
            lines += [f"## {_heading(gathered, level)}", ""]
        for title, texts in gathered.items():
            lines += [f"### {title} ({len(texts)})", ""]
            lines += [f"- {_escape(text)}" for text in texts] + [""]
    if not findings:
        lines += [_CLEAN, ""]
    for section in sections:
        lines.append(section_markdown(section))
    return "\n".join(lines).rstrip() + "\n"


def section_markdown(section: Section) -> str:
    """
    Write a table as Markdown.

    :param section: the table.
    """
    lines = [f"## {section.title}", ""]
    if section.header:
        rows = [section.header, ("---",) * len(section.header), *section.rows]
        lines += [f"| {' | '.join(map(_escape, row))} |" for row in rows] + [""]
    if section.notes:
        lines += [*map(_escape, section.notes), ""]
    return "\n".join(lines)


def count(number: int, noun: str) -> str:
    """Return "1 problem", "2 problems"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shorten(text: str, width: int) -> str:
    """Cut a text at its front, where paths tell the least."""
    return text if len(text) <= width else f"...{text[3 - width :]}"


def _table(section: Section) -> list[str]:
    """Align the columns: numbers to the right, words to the left."""
    if not section.header:
        return []
    rows = [section.header, *section.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * len(widths) > WIDTH:
        widths[widths.index(max(widths))] -= 1
    are_numbers = [
        any(map(_is_number, cells))
        and all(_is_number(c) or c in ("-", "") for c in cells)
        for cells in zip(*section.rows, strict=True)
    ] or [False] * len(widths)
    lines = []
    for row in rows:
        cells = [
            f"{shorten(cell, width):{'>' if is_number else '<'}{width}}"
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _heading(gathered: dict[str, list[str]], level: Level) -> str:
    return count(sum(map(len, gathered.values())), level)


def _listed(findings: Sequence[Finding], level: Level, shown: int) -> list[str]:
    """Return the findings of a level as wrapped lines below their titles."""
    gathered = of_level(findings, level)
    if not gathered:
        return []
    lines = [_heading(gathered, level)]
    for title, texts in gathered.items():
        lines.append(f"  {title}" + (f" ({len(texts)})" if len(texts) > 1 else ""))
        for text in texts[:shown]:
            lines += textwrap.wrap(
                text,
                WIDTH,
                initial_indent="  - ",
                subsequent_indent="    ",
                break_on_hyphens=False,
                break_long_words=False,  # a path can be copied
            )
        if len(texts) > shown:
            more = f"... and {len(texts) - shown} more; --output writes all of them"
            lines.append(f"  - {more}")
    return lines


def _escape(text: str) -> str:
    """Keep a text within its cell or its list item."""
    return text.replace("|", "\\|").replace("\n", " ")
