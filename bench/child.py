"""
Measurements in a process of their own, for memory, cold starts, and what may not fit.

A measurement is the function `measure` of a module of this folder; what it is given and
what it returns are of JSON types.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class ChildError(RuntimeError):
    """A measurement that ended without a result, as one does that needs too much."""


def measured(
    module: str,
    quick: bool,
    fresh: bool | None = None,
    variables: Mapping[str, str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """
    Run the `measure` of a module.

    :param module: its name, a file of this folder.
    :param quick: a smoke test, in this process and without XLA.
    :param fresh: in a new process; None is unless `quick`.
    :param variables: more environment variables of a new process.
    :param options: of `measure`, of JSON types.
    :return: what it returned.
    :raises ChildError: when the process failed, with the end of what it said.
    """
    if quick and not fresh:
        return _measure(module, json.loads(json.dumps(options)), quick)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        task = json.dumps(dict(module=module, options=options, quick=quick))
        command = [sys.executable, __file__, task, str(result)]
        done = subprocess.run(
            command,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**environment(), **(variables or {})},
        )
        if done.returncode != 0:
            end = "\n".join(done.stderr.splitlines()[-20:])
            raise ChildError(f"{module}: exit status {done.returncode}.\n{end}")
        return json.loads(result.read_text())


def environment() -> dict[str, str]:
    """Return that of this process, with this tree's package found first."""
    path = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), path] if path else [str(ROOT)]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths))


def _measure(module: str, options: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Run it in this process."""
    graphs = contextlib.nullcontext
    if quick:
        graphs = importlib.import_module("models").plain_graphs
    with graphs():
        return importlib.import_module(module).measure(**options)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(_measure(**json.loads(sys.argv[1]))))
