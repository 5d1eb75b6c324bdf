"""Laws and values of deepreg_meta.evaluate.page.html."""

import base64
import re

from deepreg_meta.evaluate.page.document import (
    Beside,
    Definitions,
    Details,
    Heading,
    Link,
    Notices,
    Paragraph,
    Picture,
    Table,
)
from deepreg_meta.evaluate.page.html import to_html
from tests.report_helpers import Page

PICTURE = Picture('a "fixed" image', b"\x89PNG bytes", "image/png")
TABLE = Table("Dice", ["method", "n"], [[Link("a & b", "x-1"), "3"], ["<b>", "4"]])


def page(*blocks):
    return Page(to_html(blocks, "A <title>", "the end"))


def test_every_block_becomes_tags_that_close():
    found = page(
        Heading(1, "One"),
        Paragraph("words"),
        Notices(["mind"]),
        Definitions([("term", "meaning")]),
        Beside(PICTURE, [TABLE]),
        Details("case", [TABLE, PICTURE], "x-1"),
    )
    assert found.errors == []
    for words in ("One", "words", "mind", "term", "meaning", "case", "the end"):
        assert words in found.text
    assert found.tags[0] == ("html", {"lang": "en"})
    assert {"charset": "utf-8"} in found.attributes("meta")
    assert not found.attributes("script") and not found.attributes("link")


def test_names_are_shown_as_they_are_and_never_as_tags():
    found = page(Paragraph('<script>alert(1)</script> & "more"'), TABLE)
    assert not found.attributes("script")
    assert '<script>alert(1)</script> & "more"' in found.text
    assert found.tables["Dice"] == [["method", "n"], ["a & b", "3"], ["<b>", "4"]]


def test_a_picture_is_inside_the_page_and_has_words_for_it():
    (image,) = page(PICTURE).attributes("img")
    assert image["alt"] == 'a "fixed" image'
    head, data = image["src"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == b"\x89PNG bytes"


def test_a_link_leads_to_a_part_that_is_open_for_print():
    found = page(TABLE, Details("case", [], "x-1"))
    assert found.attributes("a") == [{"href": "#x-1"}]
    assert found.attributes("details") == [{"id": "x-1", "open": None}]


def test_heads_of_rows_and_columns_are_marked_and_numbers_stand_right():
    found = page(TABLE)
    assert [a.get("scope") for a in found.attributes("th")] == [
        "col", "col", "row", "row",
    ]  # fmt: skip
    assert [a.get("class") for a in found.attributes("td")] == ["number", "number"]


def test_the_page_is_light_and_knows_how_to_be_printed():
    text = to_html([], "t", "f")
    assert text.startswith("<!DOCTYPE html>")
    for rule in ("color-scheme: light", "@media print", "break-before: page"):
        assert rule in text
    assert "http" not in text and "url(" not in text


def test_a_table_beside_a_plot_is_as_wide_as_it_needs():
    """A fixed width beside the plot cuts the last columns of a table."""
    (rule,) = re.findall(
        r"^\.beside > div \{ (.*) \}", to_html([], "t", "f"), re.MULTILINE
    )
    assert "flex: 0 1 auto;" in rule and "max-width: 100%;" in rule
