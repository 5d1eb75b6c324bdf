"""
Create the project's environment `.venv` from the locks in this folder.

Usage: python requirements/make_env.py [--dev]

Needs nothing but Python 3.10 to 3.12 and a package index. The environment is stamped: a
second call does nothing, a changed lock, Python or project folder makes it anew, and
one whose making was interrupted has no stamp and is made anew too.
"""

from __future__ import annotations  # an old Python gets as far as the message

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"
SUPPORTED = ((3, 10), (3, 12))
OLDEST_PIP = 23  # the first releases of 3.10 bring 21.2, without editable wheels
BIG_MB = 50
# Settings that would send packages elsewhere than into .venv.
FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_TARGET", "PIP_USER")
CHECK = "from deepreg_meta.stack import require_stack; require_stack()"


def main(args: list[str] | None = None) -> None:
    """
    Make what is missing and say what is done.

    :param args: command line; None takes that of the process.
    :raises SystemExit: on an unsupported Python or a failed step.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument(
        "--dev", action="store_true", help="add pytest, ruff and mypy (dev.txt)"
    )
    dev = parser.parse_args(args).dev
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        raise SystemExit(
            f"deepreg_meta: expected Python 3.10 to 3.12, got {sys.version.split()[0]} "
            f"({sys.executable}). Name another one: make PYTHON=/path/to/python3.11 ..."
        )
    with only_one_at_a_time():
        start = time.monotonic()
        made = [make_run(), make_project(), dev and make_dev()]
        if any(made):
            print(f"{VENV}: ready in {time.monotonic() - start:.0f} s", flush=True)


def make_run() -> bool:
    """
    Make the environment with the run-time packages, from scratch.

    :return: whether there was anything to do.
    """
    # A changed dev.txt counts too: pip would leave behind what the new one lacks.
    changed = [
        layer
        for layer, wanted in (("run", run_key()), ("dev", dev_key()))
        if (VENV / f".stamp-{layer}").is_file() and not is_stamped(layer, wanted)
    ]
    if is_stamped("run", run_key()) and not changed and PYTHON.exists():
        return False
    reason = f"{' and '.join(changed)} changed" if changed else "it is not complete"
    if VENV.exists():
        print(f"{VENV}: made anew, since {reason}", flush=True)
    remove()
    print(f"[1/3] {VENV}: Python {sys.version.split()[0]}", flush=True)
    make_bare()
    print("[2/3] locked packages (the first time some 750 MB to download)", flush=True)
    install("-r", str(LOCKS / "run.txt"), "--require-hashes")
    # After the rest and without its pins; before the project, which shares two of its
    # commands and must be the last to write them.
    install("--no-deps", "-r", str(LOCKS / "deepreg.txt"), "--require-hashes")
    stamp("run", run_key())
    return True


def remove() -> None:
    """Remove the environment, so that an interruption leaves no half of it in place."""
    trash = VENV.with_name(".venv-old")
    shutil.rmtree(trash, ignore_errors=True)
    if VENV.exists():
        VENV.rename(trash)
        shutil.rmtree(trash)


def make_project() -> bool:
    """
    Install this project into the environment as it lies here (editable).

    :return: whether there was anything to do.
    """
    key = digest("setup.cfg", "setup.py", "pyproject.toml")
    if is_stamped("project", key):
        return False
    print("[3/3] deepreg_meta, editable", flush=True)
    install("--no-deps", "--no-build-isolation", "--editable", str(ROOT), wheels=False)
    for command in ("deepreg_train", "deepreg_predict"):
        if "deepreg_meta" not in (VENV / "bin" / command).read_text():
            raise SystemExit(f"{VENV}/bin/{command} is not deepreg_meta's own")
    run([str(PYTHON), "-c", CHECK])
    stamp("project", key)
    return True


def make_dev() -> bool:
    """
    Add the packages for developing.

    :return: whether there was anything to do.
    """
    if is_stamped("dev", dev_key()):
        return False
    print("[dev] pytest, ruff, mypy", flush=True)
    install("-r", str(LOCKS / "dev.txt"), "--require-hashes")
    stamp("dev", dev_key())
    return True


def run_key() -> str:
    """:return: what the run-time part depends on: locks, Python and folder."""
    version = ".".join(map(str, sys.version_info[:2]))
    locks = digest(
        "requirements/pip.txt", "requirements/run.txt", "requirements/deepreg.txt"
    )
    return f"{locks} Python {version} {ROOT}"


def dev_key() -> str:
    """:return: what the part for developing depends on."""
    return digest("requirements/dev.txt")


def digest(*names: str) -> str:
    """:return: SHA-256 of the named files' content, in hexadecimal."""
    content = b"\0".join((ROOT / name).read_bytes() for name in names)
    return hashlib.sha256(content).hexdigest()


def is_stamped(layer: str, key: str) -> bool:
    """:return: whether `layer` was finished from what `key` stands for."""
    path = VENV / f".stamp-{layer}"
    return path.is_file() and path.read_text() == key


def stamp(layer: str, key: str) -> None:
    """Record that `layer` is finished; by renaming, so that it is there or is not."""
    path = VENV / f".stamp-{layer}"
    path.with_suffix(".new").write_text(key)
    path.with_suffix(".new").rename(path)


def make_bare() -> None:
    """Make an environment that holds a pip able to read the locks."""
    # The script may run on .venv's own Python, which was just removed: hence the base.
    base = getattr(sys, "_base_executable", sys.executable)
    try:
        import ensurepip  # noqa: F401  (Debian ships Python without it)
    except ImportError:
        run([base, "-m", "venv", "--without-pip", str(VENV)])
        pip = str(download_pip() / "pip")
    else:
        run([base, "-m", "venv", str(VENV)])
        version = run([str(PYTHON), "-m", "pip", "--version"]).split()[1]
        if int(version.split(".")[0]) >= OLDEST_PIP:
            return
        pip = "-mpip"
    lock = str(LOCKS / "pip.txt")
    run([str(PYTHON), pip, "install", "--require-hashes", "-r", lock])


def download_pip() -> Path:
    """
    Fetch the locked pip wheel, which can run unpacked or not.

    :return: the wheel's path.
    :raises SystemExit: when the index has no such file or it is not the locked one.
    """
    lock = (LOCKS / "pip.txt").read_text()
    version = re.findall("pip==([0-9.]+)", lock)[0]
    name = f"pip-{version}-py3-none-any.whl"
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    with urllib.request.urlopen(f"{index}/pip/", timeout=60) as page:
        links = re.findall(r'href="([^"#]+)', page.read().decode())
        url = page.url
    link = next((link for link in links if link.endswith(name)), None)
    if link is None:
        raise SystemExit(f"{index}/pip/: expected a link to {name}, found none")
    with urllib.request.urlopen(urllib.parse.urljoin(url, link), timeout=60) as file:
        wheel = file.read()
    if hashlib.sha256(wheel).hexdigest() not in lock:
        raise SystemExit(f"{link}: its SHA-256 is not one of requirements/pip.txt")
    path = VENV / name
    path.write_bytes(wheel)
    return path


def install(*arguments: str, wheels: bool = True) -> None:
    """
    Run `pip install` in the environment.

    :param arguments: what to install and how.
    :param wheels: refuse source packages, so that no compiler is ever needed.
    :raises SystemExit: when pip fails.
    """
    pip = [str(PYTHON), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    run([*pip, *(["--only-binary", ":all:"] if wheels else []), *arguments])


def run(command: list[str]) -> str:
    """
    Run one command, its output into the log, large downloads shown as they start.

    :param command: program and arguments.
    :return: the output.
    :raises SystemExit: when it fails, with the end of its output.
    """
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    lines = []
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            show_progress(line)
    if VENV.is_dir():
        with LOG.open("a") as log:
            log.writelines([f"$ {' '.join(command)}\n", *lines])
    if process.returncode:
        raise SystemExit(
            f"{''.join(lines[-15:])}\nThis step failed with status "
            f"{process.returncode}: {' '.join(command)}\nWhole output: {LOG}"
        )
    return "".join(lines)


def show_progress(line: str) -> None:
    """Print one of pip's lines if it tells of a long wait."""
    size = re.search(r"(?:Downloading|cached) .*?([^/ ]+)\.whl.*\(([0-9.]+) MB\)", line)
    if size and float(size[2]) >= BIG_MB:
        print(f"      {size[1].split('-cp')[0]}: {size[2]} MB", flush=True)
    elif line.startswith("Installing collected packages"):
        print("      unpacking", flush=True)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Wait while another process makes the environment of this folder."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted: the next call starts from scratch") from None
