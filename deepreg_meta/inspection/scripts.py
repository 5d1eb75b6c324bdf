"""
Which package answers when a command is typed.

DeepReg's wheel brings commands of the same names as ours, and the package that was
installed last owns the file. The metadata of both packages go on claiming it, so the
file itself is read.
"""

import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from deepreg_meta.inspection.finding import Finding, Section, problems, warnings

OURS, DEEPREG = "deepreg_meta", "deepreg"
COMMANDS = (
    "deepreg_train",
    "deepreg_predict",
    "deepreg_register",
    "deepreg_segment",
    "deepreg_track",
    "deepreg_warp",
    "deepreg_evaluate",
    "deepreg_report",
    "deepreg_check",
)
_IMPORT = re.compile(r"(?:from|import)\s+(deepreg(?:_meta)?)\b")
_ENTRY_POINT = re.compile(r"""['"](deepreg(?:[-_]meta)?)(?:==[^'"]*)?['"]""")


@dataclass(frozen=True)
class Script:
    """
    A command and who answers to it.

    :param name: as typed.
    :param path: its file in this environment, None where there is none.
    :param owner: package that the file runs; None where it does not tell.
    :param claims: packages whose metadata name the command.
    :param module: of this package, for `python -m`; None where it is not installed.
    :param typed: file that typing the name runs, by PATH; None where there is none.
    """

    name: str
    path: str | None
    owner: str | None
    claims: tuple[str, ...]
    module: str | None
    typed: str | None


def find_scripts() -> list[Script]:
    """Look up each command of this package in this environment."""
    claims: dict[str, dict[str, str]] = {name: {} for name in COMMANDS}
    for entry in metadata.entry_points(group="console_scripts"):
        if entry.name in claims and entry.dist is not None:
            package = _normal(entry.dist.metadata["Name"])
            claims[entry.name][package] = entry.value.partition(":")[0]
    folders = sorted({str(Path(sys.executable).parent), sysconfig.get_path("scripts")})
    scripts = []
    for name in COMMANDS:
        found = (shutil.which(name, path=folder) for folder in folders)
        path = next(filter(None, found), None)
        scripts.append(
            Script(
                name=name,
                path=path,
                owner=None if path is None else owner_of(path),
                claims=tuple(sorted(claims[name])),
                module=claims[name].get(OURS),
                typed=shutil.which(name),
            )
        )
    return scripts


def owner_of(path: str | Path) -> str | None:
    """
    Tell which package the file of a command runs.

    :param path: of the script.
    :return: deepreg_meta, deepreg, or None for a file that names neither.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = _IMPORT.search(text) or _ENTRY_POINT.search(text)
    return _normal(match[1]) if match else None


def judge_scripts(scripts: list[Script]) -> list[Finding]:
    """
    Name the commands that do not run this package.

    :param scripts: as `find_scripts` returns them.
    :return: a problem for each command that DeepReg owns; warnings for those that are
        missing, or that another environment answers to.
    """
    is_installed = any(script.module for script in scripts)
    found = [finding for s in scripts for finding in _judge(s, is_installed)]
    if not is_installed:
        found += warnings(
            "commands that are missing",
            [
                "This package is not installed in this environment, so it has no "
                f"commands of its own: `{sys.executable} -m pip install --no-deps .` "
                "in a clone of the project makes them. `python -m deepreg_meta.train` "
                "and the like work without."
            ],
        )
    return found


def _judge(script: Script, is_installed: bool) -> list[Finding]:
    source = OURS if is_installed else "."
    cure = (
        f"Type `{sys.executable} -m pip install --force-reinstall --no-deps {source}`"
    )
    if script.module:
        cure += f", or use `python -m {script.module}`"
    if script.owner == DEEPREG and (script.module or not is_installed):
        text = (
            f"{script.name} ({script.path}): expected this package's program, got "
            f"DeepReg's. {cure}."
        )
        return problems("commands that DeepReg owns", [text])
    if script.path is None and script.module:
        text = f"{script.name}: expected a file beside {sys.executable}, found none."
        return warnings("commands that are missing", [f"{text} {cure}."])
    if script.path and script.typed and not _is_same(script.path, script.typed):
        text = (
            f"{script.name}: typing it runs {script.typed}, not {script.path}. "
            "Activate this environment, or type the whole path."
        )
        return warnings("commands of another environment", [text])
    return []


def script_section(scripts: list[Script]) -> Section:
    """Return the table of the commands."""
    rows = []
    for script in scripts:
        owner = script.owner or ("-" if script.path is None else "unknown")
        claims = ", ".join(script.claims) or "-"
        rows.append((script.name, owner, claims, script.path or "none"))
    return Section("Commands", ("command", "runs", "claimed by", "file"), rows)


def _normal(name: str) -> str:
    return name.lower().replace("-", "_")


def _is_same(first: str, second: str) -> bool:
    """Compare folders, links in them followed: the files may be links themselves."""
    folders = {Path(path).parent.resolve() for path in (first, second)}
    return len(folders) == 1
