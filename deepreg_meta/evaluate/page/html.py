"""Write a report as one HTML page that needs nothing beside it."""

import base64
from collections.abc import Sequence
from html import escape

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

_SHORT = 16  # rows
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 1720px; color: #1a1a1a;
  background: #fff; font: 16px/1.5 system-ui, "Segoe UI", Arial, sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.4rem; margin: 2.5rem 0 0.8rem; border-bottom: 2px solid #0072B2; }
h3 { font-size: 1.15rem; margin: 1.8rem 0 0.5rem; }
p, dl, ul { max-width: 52rem; }
dt { font-weight: 600; margin-top: 0.5rem; }
dd { margin-left: 1.5rem; }
a { color: #00598a; }
.notices { max-width: 60rem; margin: 1rem 0; padding: 0.6rem 1rem 0.6rem 2rem;
  background: #fdf6e3; border-left: 5px solid #E69F00; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.2rem 0; }
th, td { padding: 0.22rem 0.7rem; border-bottom: 1px solid #d0d0d0;
  text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #555; vertical-align: bottom; }
tbody th { font-weight: 600; overflow-wrap: break-word; min-width: 9rem;
  max-width: 30rem; }
.number { text-align: right; }
td.number { white-space: nowrap; }
td { min-width: 4rem; }
td:not(.number) { min-width: 12rem; }
tbody tr:hover { background: #eef5fa; }
figure { margin: 1rem 0; }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; }
/* as wide as its table: it goes below the picture before a column is cut */
.beside > div { flex: 0 1 auto; min-width: 0; max-width: 100%; }
.beside figure { max-width: 100%; }
img { max-width: 100%; height: auto; }
details { margin: 1rem 0; border: 1px solid #d0d0d0; border-radius: 4px;
  padding: 0.4rem 0.8rem; }
summary { cursor: pointer; font-weight: 600; }
footer { margin-top: 3rem; color: #555; font-size: 0.9rem; }
@media print {
  @page { size: landscape; margin: 12mm; }
  body { padding: 0; max-width: none; font-size: 9pt; }
  th, td { padding: 0.1rem 0.5rem; }
  h2 { break-before: page; }
  h1 ~ h2:first-of-type { break-before: auto; }
  h2, h3, summary { break-after: avoid; }
  tr, figure, details, .notices, .beside, .short { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; margin: 0.5rem 0; }
  .beside > div { flex: 1 1 0; }
  .beside img { max-height: 75mm; }
  details { border: 0; padding: 0; }
  summary { list-style: none; }
  img { max-height: 118mm; width: auto; }
  a { color: inherit; text-decoration: none; }
}
"""


def to_html(blocks: Sequence[Block], title: str, footer: str) -> str:
    """
    Write blocks as a page of HTML 5: style and pictures inside, no script.

    :param blocks: of a report.
    :param title: of the window.
    :param footer: last words.
    :return: the page.
    """
    body = "\n".join(_block(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n{body}\n</main>\n<footer>\n<p>{escape(footer)}</p>\n</footer>\n"
        "</body>\n</html>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        anchor = f' id="{escape(block.anchor)}"' if block.anchor else ""
        return f"<h{block.level}{anchor}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Notices):
        items = "".join(f"<li>{escape(item)}</li>\n" for item in block.items)
        return f'<ul class="notices">\n{items}</ul>'
    if isinstance(block, Definitions):
        items = "".join(
            f"<dt>{escape(term)}</dt>\n<dd>{escape(text)}</dd>\n"
            for term, text in block.items
        )
        return f"<dl>\n{items}</dl>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Picture):
        return _picture(block)
    if isinstance(block, Beside):
        parts = "\n".join(_block(child) for child in block.blocks)
        picture = _picture(block.picture)
        return f'<div class="beside">\n{picture}\n<div>\n{parts}\n</div>\n</div>'
    return _details(block)


def _table(table: Table) -> str:
    def mark(column: int) -> str:
        return ' class="number"' if column >= table.num_words else ""

    head = "".join(
        f'<th scope="col"{mark(i)}>{escape(name)}</th>'
        for i, name in enumerate(table.header)
    )
    rows = []
    for row in table.rows:
        first = f'<th scope="row">{_cell(row[0])}</th>'
        others = "".join(
            f"<td{mark(i)}>{_cell(cell)}</td>" for i, cell in enumerate(row[1:], 1)
        )
        rows.append(f"<tr>{first}{others}</tr>")
    body = "\n".join(rows)
    # a short table is not torn apart between two sheets of paper
    kind = "scroll short" if len(rows) <= _SHORT else "scroll"
    return (
        f'<div class="{kind}">\n<table>\n<caption>{escape(table.caption)}</caption>\n'
        f"<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, Link):
        return f'<a href="#{escape(cell.anchor)}">{escape(cell.text)}</a>'
    return escape(cell)


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode("ascii")
    return (
        f'<figure>\n<img alt="{escape(picture.alt)}" '
        f'src="data:{picture.mime};base64,{data}">\n</figure>'
    )


def _details(details: Details) -> str:
    anchor = f' id="{escape(details.anchor)}"' if details.anchor else ""
    inner = "\n".join(_block(block) for block in details.blocks)
    # open from the start: what is folded away is not printed
    return (
        f"<details{anchor} open>\n<summary>{escape(details.summary)}</summary>\n"
        f"{inner}\n</details>"
    )
