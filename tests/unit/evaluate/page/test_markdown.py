"""Values of deepreg_meta.evaluate.page.markdown."""

from pathlib import PurePosixPath

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
from deepreg_meta.evaluate.page.markdown import to_markdown


def test_every_block_has_its_form():
    picture = Picture("boxes", b"", "image/svg+xml", PurePosixPath("plots/dsc.svg"))
    table = Table("Dice", ["method", "n"], [[Link("k=1", "x"), "3"]])
    text = to_markdown(
        [
            Heading(2, "Metrics"),
            Notices(["one", "two"]),
            Definitions([("n", "cases")]),
            Beside(picture, [table]),
            Details("case7", [Picture("page", b"", "image/png"), Paragraph("fine")]),
        ]
    )
    assert text == (
        "## Metrics\n\n> - one\n> - two\n\n- **n**: cases\n\n"
        "![boxes](plots/dsc.svg)\n\nDice\n\n| method | n |\n| --- | ---: |\n"
        "| k=1 | 3 |\n\n#### case7\n\nfine\n"
    )


def test_names_are_shown_as_they_are():
    table = Table("a", ["x"], [["run_1|b*c"], ["two\nlines <b>"]])
    assert "| run\\_1\\|b\\*c |\n| two lines \\<b> |" in to_markdown([table])
