"""What a check has found, as text and as files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepreg_meta import __version__
from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.inspection import layout
from deepreg_meta.inspection.finding import Finding, Section, of_level

if TYPE_CHECKING:
    from deepreg_meta.inspection.files import FileRecord
    from deepreg_meta.inspection.overview import Tile


@dataclass(eq=False)
class Check:
    """
    What a check has found.

    :param sections: tables.
    :param findings: problems and warnings.
    :param case_rows: of cases.csv.
    :param records: of the files.
    :param tiles: pictures of some pairs.
    """

    sections: list[Section] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    case_rows: list[dict[str, Any]] = field(default_factory=list)
    records: "list[FileRecord]" = field(default_factory=list)
    tiles: "list[Tile]" = field(default_factory=list)

    @property
    def num_problems(self) -> int:
        """How many problems there are; warnings do not count."""
        return sum(map(len, of_level(self.findings, "problem").values()))

    @property
    def text(self) -> str:
        """The report for the terminal."""
        return layout.terminal(self.sections, self.findings)

    def write(self, folder: str | Path) -> Path:
        """
        Write check.md, cases.csv, files.csv and overview.png, each whole or not at all.

        :param folder: made where it is not there.
        :return: the folder.
        """
        # pandas and Matplotlib take a second, which --help need not wait for
        from deepreg_meta.inspection import cases
        from deepreg_meta.inspection.overview import draw_overview

        folder = Path(folder).expanduser()
        parts = [f"# deepreg_check of deepreg_meta {__version__}\n"]
        parts.append(layout.markdown(self.sections, self.findings))
        if self.tiles:
            draw_overview(folder / "overview.png", self.tiles)
            parts.append("![pairs before any network](overview.png)\n")
        for name, rows, columns in (
            ("cases.csv", self.case_rows, cases.CASE_COLUMNS),
            (
                "files.csv",
                [cases.file_row(r) for r in self.records],
                cases.FILE_COLUMNS,
            ),
        ):
            if rows:
                cases.write_rows(folder / name, rows, columns)
                text = [(f"`{column}`", what) for column, what in columns.items()]
                section = Section(f"Columns of {name}", ("column", "content"), text)
                parts.append(layout.section_markdown(section))
        with whole_file(folder / "check.md") as part:
            part.write_text("\n".join(parts), encoding="utf-8")
        return folder
