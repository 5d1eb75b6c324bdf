"""
Check that the packages underneath are there and fit together, before TensorFlow loads.

DeepReg 0.1.2 cannot be a declared dependency (its own pins exist for no supported
Python), so an installation may lack it; and tf-keras, which DeepReg's models need, is
chosen by an environment variable that must be set before `tf.keras` is first touched.
Nothing here imports TensorFlow, unless somebody else already has.
"""

import importlib
import os
import re
import sys
from importlib import metadata

DEEPREG = "0.1.2"
MIN_TENSORFLOW = (2, 16)
PYTHONS = ((3, 10), (3, 12))
# Every one of them provides the module `tensorflow`.
TENSORFLOW_NAMES = ("tensorflow", "tensorflow-cpu", "tf-nightly", "tensorflow-macos")
LEGACY_VALUES = ("1", "true", "True")  # what TensorFlow itself accepts


def require_stack() -> None:
    """
    Make sure that DeepReg can be imported and that `tf.keras` is Keras 2 (tf-keras).

    Sets `TF_USE_LEGACY_KERAS=1` in the process's environment. Call it before anything
    imports TensorFlow or DeepReg; a second call costs a few milliseconds.

    :raises ImportError: one message with everything that is missing or does not fit,
        and the commands that help.
    :raises RuntimeError: when TensorFlow was imported before, with Keras 3.
    """
    problems = find_problems(
        python=sys.version_info[:2],
        deepreg=installed_version("deepreg"),
        tensorflow=installed_version(*TENSORFLOW_NAMES),
        tf_keras=installed_version("tf-keras"),
    )
    if problems:
        raise ImportError(describe(problems))
    choose_legacy_keras()


def find_problems(
    *,
    python: tuple[int, int],
    deepreg: str | None,
    tensorflow: str | None,
    tf_keras: str | None,
) -> list[tuple[str, str | None]]:
    """
    Compare versions with what is needed.

    :param python: major and minor version of the interpreter.
    :param deepreg: installed version, None for none; so are the next two.
    :param tensorflow: see `deepreg`.
    :param tf_keras: see `deepreg`.
    :return: one (what is wrong, arguments of `pip install` that cure it) per problem;
        no arguments where pip cannot cure it.
    """
    problems: list[tuple[str, str | None]] = []
    if not PYTHONS[0] <= python <= PYTHONS[1]:
        found = ".".join(map(str, python))
        problems.append((f"Python: expected 3.10 to 3.12, found {found}", None))
    minor = minor_version(tensorflow)
    if minor is None or minor < MIN_TENSORFLOW:
        rule = f"TensorFlow: expected 2.16 or newer, found {tensorflow or 'none'}"
        problems.append((rule, '"tensorflow>=2.16,<2.22" "tf-keras>=2.16,<2.22"'))
    elif minor_version(tf_keras) != minor:
        wanted = ".".join(map(str, minor))
        rule = (
            f"tf-keras: expected {wanted}, the minor version of TensorFlow, "
            f"found {tf_keras or 'none'}"
        )
        problems.append((rule, f"tf-keras=={wanted}.*"))
    if deepreg != DEEPREG:
        rule = (
            f"DeepReg: expected {DEEPREG}, found {deepreg or 'none'} (its own pins "
            "cannot be met, hence --no-deps)"
        )
        problems.append((rule, f"--no-deps deepreg=={DEEPREG}"))
    return problems


def describe(problems: list[tuple[str, str | None]]) -> str:
    """
    Write all problems and their cure as one message.

    :param problems: as `find_problems` returns them, at least one.
    :return: several lines.
    """
    lines = ["deepreg_meta cannot run in this Python environment:"]
    lines += [f"  - {rule}" for rule, _ in problems]
    commands = [arguments for _, arguments in problems if arguments]
    if commands:
        lines += ["Type:"]
        lines += [f"    {sys.executable} -m pip install {words}" for words in commands]
    lines += [
        "Or, in a clone of the project, `make env` creates .venv with everything."
    ]
    if any("deepreg==" in words for words in commands):
        lines += [
            "DeepReg's package brings commands of the same names as ours: after "
            "installing it, install deepreg_meta once more, or call "
            "`python -m deepreg_meta.train` and `python -m deepreg_meta.predict`."
        ]
    return "\n".join(lines)


def choose_legacy_keras() -> None:
    """
    Have `tf.keras` be tf-keras in this process.

    :raises RuntimeError: when it is too late for that.
    """
    if os.environ.get("TF_USE_LEGACY_KERAS") not in LEGACY_VALUES:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    if "tensorflow" not in sys.modules:
        return
    # TensorFlow fixes at its own import where `tensorflow.keras.*` is looked up, so ask
    # in the very way DeepReg does. Where all is well this is loaded anyway.
    origin = importlib.import_module("tensorflow.keras.layers").Layer.__module__
    if not origin.startswith("tf_keras"):
        raise RuntimeError(
            "deepreg_meta needs tf.keras to be tf-keras (Keras 2), but TensorFlow was "
            f"imported first and took {origin} (Keras 3). Import deepreg_meta before "
            "anything that touches tf.keras, or set TF_USE_LEGACY_KERAS=1 in the "
            "environment before Python starts."
        )


def installed_version(*names: str) -> str | None:
    """:return: version of the first of these distributions that is installed."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def minor_version(version: str | None) -> tuple[int, int] | None:
    """:return: (2, 21) for "2.21.0" or "2.21.0rc1"; None where there is no version."""
    match = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(match[1]), int(match[2])) if match else None
