"""Write a report as Markdown."""

from collections.abc import Sequence

from deepreg_meta.evaluate.page.document import (
    Beside,
    Block,
    Cell,
    Definitions,
    Details,
    Heading,
    Link,
    Notices,
    Paragraph,
    Picture,
    Table,
)


def to_markdown(blocks: Sequence[Block]) -> str:
    """
    Write blocks as Markdown, as GitHub reads it.

    :param blocks: of a report.
    :return: the text; pictures that have no file beside it are left out.
    """
    parts = [part for block in blocks for part in _parts(block)]
    return "\n\n".join(parts) + "\n"


def _parts(block: Block) -> list[str]:
    if isinstance(block, Heading):
        return [f"{'#' * block.level} {_escape(block.text)}"]
    if isinstance(block, Paragraph):
        return [_escape(block.text)]
    if isinstance(block, Notices):
        return ["\n".join(f"> - {_escape(item)}" for item in block.items)]
    if isinstance(block, Definitions):
        return ["\n".join(f"- **{_escape(a)}**: {_escape(b)}" for a, b in block.items)]
    if isinstance(block, Table):
        return [_escape(block.caption), _table(block)]
    if isinstance(block, Picture):
        return [f"![{_escape(block.alt)}]({block.file})"] if block.file else []
    if isinstance(block, Beside):
        return [p for child in (block.picture, *block.blocks) for p in _parts(child)]
    return _details(block)


def _details(details: Details) -> list[str]:
    inner = [part for child in details.blocks for part in _parts(child)]
    return [f"#### {_escape(details.summary)}", *inner]


def _table(table: Table) -> str:
    head = " | ".join(_escape(name) for name in table.header)
    marks = ["---"] * table.num_words
    marks += ["---:"] * (len(table.header) - table.num_words)
    rows = [" | ".join(_cell(cell) for cell in row) for row in table.rows]
    return "\n".join(f"| {line} |" for line in (head, " | ".join(marks), *rows))


def _cell(cell: Cell) -> str:
    return _escape(cell.text if isinstance(cell, Link) else cell)


def _escape(text: str) -> str:
    """Keep names of files and cases from being read as marks."""
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
