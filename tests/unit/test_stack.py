"""Tests of deepreg_meta/stack.py."""

import os
import platform
import subprocess
import sys

import pytest

from deepreg_meta import stack

GOOD = {
    "python": (3, 11),
    "deepreg": "0.1.2",
    "tensorflow": "2.21.0",
    "tf_keras": "2.21.0",
}


@pytest.mark.parametrize("python", [(3, 10), (3, 12)])
@pytest.mark.parametrize("minor", ["16", "21"])
def test_a_stack_of_one_minor_version_has_no_problems(python, minor):
    """The patch releases of TensorFlow and tf-keras may differ."""
    versions = {"tensorflow": f"2.{minor}.2", "tf_keras": f"2.{minor}.0"}
    assert stack.find_problems(**{**GOOD, "python": python, **versions}) == []


@pytest.mark.parametrize(
    ("change", "rule", "cure"),
    [
        ({"python": (3, 9)}, "Python: expected 3.10 to 3.12, found 3.9", None),
        ({"python": (3, 13)}, "Python: expected 3.10 to 3.12, found 3.13", None),
        ({"deepreg": None}, "found none", "--no-deps deepreg==0.1.2"),
        ({"deepreg": "0.1.1"}, "found 0.1.1", "--no-deps deepreg==0.1.2"),
        ({"tensorflow": None, "tf_keras": None}, "found none", "tensorflow>=2.16,"),
        ({"tensorflow": "2.9.1"}, "2.16 or newer, found 2.9.1", "tensorflow>=2.16,"),
        ({"tensorflow": "2.15.1"}, "2.16 or newer, found 2.15.1", "tf-keras>=2.16,"),
        ({"tf_keras": None}, "expected 2.21", "tf-keras==2.21.*"),
        ({"tf_keras": "2.20.1"}, "found 2.20.1", "tf-keras==2.21.*"),
    ],
)
def test_each_fault_alone_gives_one_problem_with_its_cure(change, rule, cure):
    """2.9 is older than 2.16: versions are compared as numbers."""
    [(found_rule, found_cure)] = stack.find_problems(**{**GOOD, **change})
    assert rule in found_rule
    assert found_cure is None if cure is None else cure in found_cure


def test_one_message_lists_all_that_is_missing_and_the_commands(monkeypatch):
    """Nothing installed: two commands, both for this very interpreter."""
    monkeypatch.setattr(stack, "installed_version", lambda *names: None)
    with pytest.raises(ImportError) as error:
        stack.require_stack()
    lines = str(error.value).splitlines()
    rules = [line for line in lines if line.startswith("  - ")]
    assert [rule.split(":")[0] for rule in rules] == ["  - TensorFlow", "  - DeepReg"]
    pip = f"    {sys.executable} -m pip install "
    assert [line.removeprefix(pip) for line in lines if line.startswith(pip)] == [
        '"tensorflow>=2.16,<2.22" "tf-keras>=2.16,<2.22"',
        "--no-deps deepreg==0.1.2",
    ]
    assert "make env" in str(error.value)


def test_a_python_out_of_range_alone_offers_no_pip_command():
    """No `pip install` changes the interpreter."""
    text = stack.describe(stack.find_problems(**{**GOOD, "python": (3, 9)}))
    assert "found 3.9" in text
    assert "pip install" not in text


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.21.0", (2, 21)), ("2.9.0rc1", (2, 9)), ("unknown", None), (None, None)],
)
def test_minor_version_is_numeric(version, expected):
    assert stack.minor_version(version) == expected


def test_the_first_installed_name_answers():
    assert stack.installed_version("no-such-name", "pytest") == pytest.__version__
    assert stack.installed_version("no-such-name") is None


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter without a choice of Keras or of oneDNN."""
    chosen = ("TF_USE_LEGACY_KERAS", "TF_ENABLE_ONEDNN_OPTS")
    environment = {k: v for k, v in os.environ.items() if k not in chosen}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_check_itself_does_not_import_tensorflow():
    """`--help` must come within a second; a refusal (0) by the user is overruled."""
    code = (
        "import os, sys; from deepreg_meta.stack import require_stack\n"
        "require_stack(); assert 'tensorflow' not in sys.modules\n"
        "print(os.environ['TF_USE_LEGACY_KERAS'])"
    )
    result = run_python(code, TF_USE_LEGACY_KERAS="0")
    assert (result.stdout, result.returncode) == ("1\n", 0), result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("touch", ["", "tf.keras.layers.Layer;"])
def test_tensorflow_imported_first_with_keras_3_is_refused(touch):
    """Even untouched, `import tensorflow.keras.layers` would load Keras 3."""
    code = f"import tensorflow as tf; {touch} from deepreg_meta import stack;"
    result = run_python(code + "stack.require_stack()")
    assert result.returncode == 1
    assert "RuntimeError: deepreg_meta needs tf.keras to be tf-keras" in result.stderr
    assert "Import deepreg_meta before anything" in result.stderr


@pytest.mark.slow
def test_tensorflow_imported_first_with_legacy_keras_is_fine():
    code = "import tensorflow; from deepreg_meta import stack; stack.require_stack()"
    result = run_python(code, TF_USE_LEGACY_KERAS="True")
    assert result.returncode == 0, result.stderr


def test_importing_the_package_chooses_keras_2_and_leaves_a_choice_alone():
    code = (
        "import os, sys, deepreg_meta; assert 'tensorflow' not in sys.modules\n"
        "print(os.environ['TF_USE_LEGACY_KERAS'])"
    )
    assert run_python(code).stdout.strip() == "1"
    assert run_python(code, TF_USE_LEGACY_KERAS="0").stdout.strip() == "0"


@pytest.mark.parametrize(
    ("machine", "given", "expected"),
    [
        ("x86_64", {}, "1"),
        ("AMD64", {}, "1"),
        ("x86_64", {"TF_ENABLE_ONEDNN_OPTS": "0"}, "0"),
        ("aarch64", {}, None),
    ],
)
def test_importing_the_package_chooses_onednn_on_x86(machine, given, expected):
    code = (
        f"import os, platform; platform.machine = lambda: {machine!r}\n"
        "import deepreg_meta; print(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))"
    )
    assert run_python(code, **given).stdout.strip() == str(expected)


@pytest.mark.slow
@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="TensorFlow is built with oneDNN for x86 CPUs under Linux",
)
def test_tensorflow_follows_the_choice_of_onednn():
    code = (
        "import deepreg_meta\n"
        "from tensorflow.python.util import _pywrap_util_port as port\n"
        "print(port.IsMklEnabled())"
    )
    assert run_python(code).stdout.strip() == "True"
    off = run_python(code, TF_ENABLE_ONEDNN_OPTS="0")
    assert (off.stdout.strip(), off.returncode) == ("False", 0), off.stderr
