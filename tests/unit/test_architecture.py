"""Tests of the modules as a whole: imports run one way, and the page tells of all."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "deepreg_meta"
PAGE = ROOT / "docs" / "architecture.md"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path: Path) -> set[str]:
    """Find the modules of ours that a file imports at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


def floors() -> list[set[str]]:
    """Read the table of floors: the names in its second column, line by line."""
    rows = re.findall(r"^\| [a-z ]+ \| (`[^|]+`) \|", PAGE.read_text(), re.M)
    return [set(re.findall(r"`(\w+)`", row)) for row in rows]


def test_no_module_imports_one_that_imports_it():
    graph = {name: imports_of(path) for name, path in MODULES.items()}
    assert len(graph["deepreg_meta.model.reptile"]) > 5
    TopologicalSorter(graph).prepare()  # a circle ends in CycleError, which names it


def test_the_page_places_every_part_of_the_package_on_one_floor():
    parts = {p.stem for p in PACKAGE.glob("*.py")} | {
        p.parent.name for p in PACKAGE.glob("*/__init__.py")
    }
    placed = [name for floor in floors() for name in floor]
    assert sorted(placed) == sorted(parts - {"__init__"})


def test_imports_lead_to_the_same_floor_or_one_above_it():
    floor_of = {name: i for i, floor in enumerate(floors()) for name in floor}
    down = set()
    for name, path in MODULES.items():
        for other in imports_of(path):
            parts = name.split(".")[1:2] + other.split(".")[1:2]
            if len(parts) == 2 and floor_of[parts[0]] < floor_of[parts[1]]:
                down.add(tuple(parts))
    assert down == {("evaluate", "results")}  # which the page names


def test_modules_that_the_page_names_exist():
    text = PAGE.read_text().split("## From a configuration")[1]
    named = [
        name
        for code in re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`", text)
        for name in [re.sub(r"\.[A-Z]\w*$|\.locations$|\.fit$", "", code)]
    ]
    assert len(named) > 15
    assert [name for name in named if f"deepreg_meta.{name}" not in MODULES] == []
