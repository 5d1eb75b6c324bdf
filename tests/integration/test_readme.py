"""Tests of READMEs and pages: what they tell a user to type or to open exists."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from deepreg_meta import (
    check,
    evaluate_fields,
    predict,
    register_pair,
    report,
    segment,
    track,
    train,
    warp,
)
from deepreg_meta.config.adapt_schema import AdaptConfig
from deepreg_meta.config.dataset_schema import PhantomConfig
from deepreg_meta.config.preprocessing import GridConfig
from deepreg_meta.config.train_schema import MetaConfig

ROOT = Path(__file__).resolve().parents[2]
READMES = [
    "README.md",
    "demos/meta_trus/README.md",
    "demos/meta_registration/README.md",
    "demos/register_pair/README.md",
    "demos/meta_regularization/README.md",
    "demos/multi_domain/README.md",
    "demos/test_time_training/README.md",
    "bench/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]
KEYS = "docs/configuration.md"  # the page with the table of YAML keys
MODULES = {
    "train": train,
    "predict": predict,
    "register": register_pair,
    "segment": segment,
    "track": track,
    "warp": warp,
    "report": report,
    "evaluate": evaluate_fields,
    "check": check,
}
PARSERS = {name: module.build_parser() for name, module in MODULES.items()}
COMMANDS = {f"deepreg_{name}": name for name in MODULES}
COMMANDS |= {module.__name__: name for name, module in MODULES.items()}
# flags of pip, and of the Makefile's own programs
FOREIGN_FLAGS = {"--no-deps"}
CODE = re.compile(r"```(\w*)\n(.*?)```", re.S)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")
FLAG = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")
# folders that runs write
WRITTEN = re.compile(r"^(demos/\w+/)?(dataset|logs)|^bench/results")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return [body for kind, body in CODE.findall(read(name)) if kind == language]


def command_lines(name: str) -> list[list[str]]:
    """Split the lines of shell blocks into words, comments and placeholders out."""
    text = "\n".join(blocks(name, "bash")).replace("\\\n", " ")
    text = re.sub(r"<[^>]*>", "x", text)
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    return [words for words in lines if words and not words[0].startswith("DATA=")]


def command_of(words: list[str]) -> tuple[str, list[str]] | None:
    """Find which of our commands a line runs, and its arguments."""
    for index, word in enumerate(words):
        name = word.removeprefix(".venv/bin/")
        if name in COMMANDS:
            return COMMANDS[name], words[index + 1 :]
    return None


def is_known_path(path: str, base: Path) -> bool:
    return any((folder / path).exists() for folder in (ROOT, base))


ALL_COMMANDS = [
    pytest.param(name, words, id=" ".join(words))
    for name in READMES
    for words in command_lines(name)
]


@pytest.mark.parametrize(("name", "words"), ALL_COMMANDS)
def test_a_command_is_understood_by_the_program_it_names(name, words):
    found = command_of(words)
    scripts = [word for word in words if word.endswith(".py")]
    if found is not None:
        program, arguments = found
        PARSERS[program].parse_args(arguments)  # an unknown flag ends in SystemExit
        configs = [word for word in arguments if word.startswith("config/")]
        assert all((ROOT / config).is_file() for config in configs)
    elif words[0] == "make":
        targets = {word for word in words[1:] if "=" not in word}
        assert targets <= make_targets()
    elif scripts:
        flags = {word for word in words if word.startswith("--")}
        assert flags <= script_flags(read(scripts[0]))
    else:
        assert words[:2] == ["pip", "install"]


def script_flags(source: str) -> set[str]:
    """Find the flags that a script defines, or has from the parser of all studies."""
    if "study_parser(" in source:
        source += read("deepreg_meta/study/command.py")
    return set(re.findall(r'"(--[\w-]+)"', source))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))


@pytest.mark.parametrize("name", READMES)
def test_make_targets_in_the_text_exist(name):
    text = re.sub(r"\s+", " ", read(name))
    named = set(re.findall(r"`make ([a-z-]+)`", text))
    assert named or name != "README.md"
    assert named <= make_targets()


@pytest.mark.parametrize("name", READMES)
def test_links_lead_to_files(name):
    base = (ROOT / name).parent
    local = [target for target in LINK.findall(read(name)) if "://" not in target]
    assert local
    for target in local:
        path, _, anchor = target.partition("#")
        page = base / path if path else ROOT / name
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as links do."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


def test_every_page_of_the_documentation_is_linked_from_the_readme():
    linked = set(LINK.findall(read("README.md")))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


@pytest.mark.parametrize("name", READMES)
def test_paths_of_the_project_that_the_text_names_exist(name):
    prose = CODE.sub("", read(name))
    roots = {path.name for path in ROOT.iterdir()}
    words = [word for code in INLINE.findall(prose) for word in code.split()]
    named = [
        word.strip(",;:")
        for word in words
        if word.split("/")[0] in roots and not WRITTEN.match(word)
    ]
    missing = [w for w in named if not is_known_path(w, (ROOT / name).parent)]
    assert missing == []


@pytest.mark.parametrize("name", READMES)
def test_flags_in_the_text_are_known_to_a_program(name):
    known = {
        option
        for parser in PARSERS.values()
        for action in parser._actions
        for option in action.option_strings
    }
    for script in [*(ROOT / "demos").glob("*/*.py"), ROOT / "bench" / "run.py"]:
        known |= script_flags(script.read_text(encoding="utf-8"))
    flags = set(FLAG.findall(LINK.sub("", read(name))))
    assert flags - known - FOREIGN_FLAGS == set()


def test_every_flag_of_the_commands_that_is_not_deepregs_is_explained():
    told = {flag for name in READMES for flag in FLAG.findall(read(name))}
    plain = {"--help", "--animation"}  # that change nothing
    flags = {
        option
        for parser in PARSERS.values()
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and "_" not in option
    }
    assert flags - plain - told == set()


def rows_of_keys() -> dict[str, str]:
    """Read the table of YAML keys: name to default, as written."""
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]*) \|", read(KEYS), re.M)
    return {key.strip("`"): default.strip() for key, default in rows}


@pytest.mark.parametrize(
    ("prefix", "model"),
    [
        ("train.meta", MetaConfig),
        ("adapt", AdaptConfig),
        ("dataset.grid", GridConfig),
    ],
)
def test_the_table_of_keys_is_complete_and_gives_the_defaults(prefix, model):
    table = rows_of_keys()
    for name, field in model.model_fields.items():
        written = yaml.safe_load(table[f"{prefix}.{name}"])
        default = list(field.default) if field.default == (0,) else field.default
        assert written == default, f"{prefix}.{name}"
    listed = {key for key in table if key.startswith(f"{prefix}.")}
    assert listed == {f"{prefix}.{name}" for name in model.model_fields}


def test_the_table_of_keys_gives_the_numbers_of_phantom_pairs():
    key = "dataset.phantom.num_train`, `.num_valid`, `.num_test"
    phantom = PhantomConfig()
    numbers = (phantom.num_train, phantom.num_valid, phantom.num_test)
    assert rows_of_keys()[key] == ", ".join(map(str, numbers))


@pytest.mark.parametrize("name", READMES)
def test_names_that_python_examples_import_exist(name):
    for block in blocks(name, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("name", READMES)
def test_yaml_examples_are_yaml(name):
    for block in blocks(name, "yaml"):
        assert isinstance(yaml.safe_load(block), dict)
