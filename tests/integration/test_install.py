"""Cheap checks, without network, that the files an installation rests on agree."""

import configparser
import importlib.util
import os
import re
import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["pip", "run", "deepreg", "dev"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")


def read_setup() -> configparser.ConfigParser:
    """:return: setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(text: str) -> dict[str, str]:
    """:return: normalised name to version range, comments and extras left out."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    parts = [re.match(r"([\w.-]+)(?:\[[^]]*\])?(.*)", line) for line in lines if line]
    return {re.sub(r"[-_.]+", "-", part[1]).lower(): part[2] for part in parts}


def locked(name: str) -> dict[str, list[str]]:
    """:return: normalised name to the versions pinned in requirements/<name>.txt."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if match := PIN.match(line):
            found.setdefault(match[1].lower().replace("_", "-"), []).append(match[2])
    return found


def satisfies(version: str, ranges: str) -> bool:
    """:return: whether a plain version fulfils ranges of the kind `>=2.16,<2.22`."""

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(".") if part.isdigit())

    for bound in filter(None, ranges.split(",")):
        operator, limit = re.match(r"(>=|<|==)(.+)", bound).groups()
        have, want = numbers(version), numbers(limit)
        if not {
            ">=": have >= want,
            "<": have < want,
            "==": have[: len(want)] == want,
        }[operator]:
            return False
    return True


def load(path: str) -> ModuleType:
    """:return: the module in a file outside the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ranges_are_compared_as_numbers():
    assert satisfies("2.21.0", ">=2.16,<2.22")
    assert not satisfies("2.9.0", ">=2.16,<2.22")
    assert not satisfies("2.22.0", ">=2.16,<2.22")
    assert not satisfies("2.20.0", "==2.21.*")


@pytest.mark.parametrize(
    ("section", "option", "name"),
    [
        ("options", "install_requires", "run"),
        ("options.extras_require", "dev", "dev"),
    ],
)
def test_setup_cfg_and_the_locks_ask_for_the_same_packages(section, option, name):
    declared = requirements(read_setup()[section][option])
    wanted = requirements((ROOT / "requirements" / f"{name}.in").read_text())
    assert set(declared) == set(wanted)
    pins = locked(name)
    for ranges in (declared, wanted):
        for package, bounds in ranges.items():
            assert package in pins
            assert all(satisfies(version, bounds) for version in pins[package])


def test_the_extra_gpu_asks_for_the_same_tensorflow():
    setup = read_setup()
    base = requirements(setup["options"]["install_requires"])
    assert requirements(setup["options.extras_require"]["gpu"]) == {
        "tensorflow": base["tensorflow"]
    }


def test_tensorflow_and_tf_keras_are_locked_to_one_minor_version():
    pins = locked("run")
    minors = {v.rsplit(".", 1)[0] for n in ("tensorflow", "tf-keras") for v in pins[n]}
    assert len(minors) == 1


def test_packages_for_developing_stay_out_of_the_run_time_lock():
    assert not {"pytest", "ruff", "mypy"} & set(locked("run"))
    shared = set(locked("run")) & set(locked("dev"))
    assert all(locked("run")[name] == locked("dev")[name] for name in shared)


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_a_hash_and_no_place(name):
    """No index, link or path of the machine that wrote the lock may be left in it."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.sub(r"\\\n", " ", text).splitlines()
    pins = [line for line in entries if line.strip()[:1] not in ("", "#")]
    assert pins
    for line in pins:
        assert PIN.match(line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line
    assert not re.search(r"https?:|file:|/|--index|--extra|--find", text)


def test_console_scripts_point_at_a_function():
    scripts = read_setup()["options.entry_points"]["console_scripts"]
    targets = dict(re.findall(r"(\w+) = ([\w.:]+)", scripts))
    assert len(targets) == len(scripts.split("\n")) - scripts.startswith("\n")
    assert {"deepreg_train", "deepreg_predict", "deepreg_register"} <= set(targets)
    for target in targets.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_every_folder_with_modules_is_a_package():
    """`packages = find:` leaves out a folder without __init__.py, silently."""
    folders = {path.parent for path in (ROOT / "deepreg_meta").rglob("*.py")}
    missing = [f for f in sorted(folders) if not (f / "__init__.py").is_file()]
    assert not missing


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.stat(script).st_mode & stat.S_IXUSR
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1] == "make test"


def test_one_version_of_deepreg_everywhere():
    from deepreg_meta.stack import DEEPREG

    assert locked("deepreg") == {"deepreg": [DEEPREG]}
    assert f'DEEPREG = "{DEEPREG}"' in (ROOT / "setup.py").read_text()


def test_one_range_of_pythons_everywhere():
    from deepreg_meta.stack import PYTHONS

    (major, first), (_, last) = PYTHONS
    declared = read_setup()["options"]["python_requires"]
    assert declared == f">={major}.{first},<{major}.{last + 1}"
    assert load("requirements/make_env.py").SUPPORTED == PYTHONS
    makefile = (ROOT / "Makefile").read_text()
    assert f"not {PYTHONS[0]} <= sys.version_info[:2] <= {PYTHONS[1]}" in makefile


@pytest.fixture
def setup_script(monkeypatch):
    """setup.py's own definitions, on a machine whose packages are in no folder."""
    text = (ROOT / "setup.py").read_text().split("\n\nrequire_deepreg()")[0]
    names: dict[str, object] = {}
    exec(compile(text, "setup.py", "exec"), names)
    monkeypatch.setattr("sysconfig.get_path", lambda scheme: "/nowhere")
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setenv("PIP_BUILD_TRACKER", "set by pip")
    return names


def test_pip_install_without_deepreg_ends_in_one_message(setup_script):
    with pytest.raises(SystemExit) as error:
        setup_script["require_deepreg"]()
    assert "needs DeepReg 0.1.2 in this Python environment, found none" in str(error)
    command = f"{sys.executable} -m pip install --no-deps deepreg==0.1.2"
    assert command in error.value.code


def test_pip_install_sees_deepreg_in_the_target_s_folder(
    setup_script, monkeypatch, tmp_path
):
    """pip hides the target from sys.path, so only the folder can tell."""
    folder = tmp_path / "deepreg-0.1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: deepreg\nVersion: 0.1.2\n")
    monkeypatch.setattr("sysconfig.get_path", lambda scheme: str(tmp_path))
    assert setup_script["find_deepreg"]() == "0.1.2"
    setup_script["require_deepreg"]()


def test_other_builders_need_no_deepreg(setup_script, monkeypatch):
    monkeypatch.delenv("PIP_BUILD_TRACKER")
    assert setup_script["require_deepreg"]() is None  # and does not raise


@pytest.fixture
def make_env(tmp_path, monkeypatch):
    """The script with its folder, installer and processes replaced; steps recorded."""
    module = load("requirements/make_env.py")
    for name in ("setup.cfg", "setup.py", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    locks = tmp_path / "requirements"
    locks.mkdir()
    for name in LOCKS:
        (locks / f"{name}.txt").write_text(name)
    venv = tmp_path / ".venv"

    def make_bare() -> None:
        (venv / "bin").mkdir(parents=True)
        for name in ("python", "deepreg_train", "deepreg_predict"):
            (venv / "bin" / name).write_text("from deepreg_meta import main")

    for name, value in {
        "ROOT": tmp_path,
        "LOCKS": locks,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
    }.items():
        monkeypatch.setattr(module, name, value)
    module.installed = []
    monkeypatch.setattr(module, "make_bare", make_bare)
    monkeypatch.setattr(module, "run", lambda command: "")
    monkeypatch.setattr(
        module,
        "install",
        lambda *words, wheels=True: (
            module.installed.append(Path(words[-1]).name)
            if wheels is False
            else module.installed.append(
                next(Path(word).name for word in words if word.endswith(".txt"))
            )
        ),
    )
    return module


def steps(module: ModuleType, *args: str) -> list[str]:
    """:return: what a call installs."""
    module.installed.clear()
    module.main(list(args))
    return list(module.installed)


def test_the_environment_is_made_once(make_env):
    """DeepReg comes before the project, which must own the shared commands."""
    project = make_env.ROOT.name
    assert steps(make_env) == ["run.txt", "deepreg.txt", project]
    assert steps(make_env) == []
    assert steps(make_env, "--dev") == ["dev.txt"]
    assert steps(make_env, "--dev") == []
    assert steps(make_env) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_changed_lock_makes_the_environment_anew(make_env, name):
    everything = steps(make_env, "--dev")
    (make_env.VENV / "leftover").touch()
    (make_env.LOCKS / f"{name}.txt").write_text("changed")
    assert steps(make_env, "--dev") == everything
    assert not (make_env.VENV / "leftover").exists()


def test_changed_metadata_only_installs_the_project_again(make_env):
    steps(make_env, "--dev")
    (make_env.ROOT / "setup.cfg").write_text("changed")
    assert steps(make_env, "--dev") == [make_env.ROOT.name]


def test_an_interrupted_environment_is_made_anew(make_env, monkeypatch):
    def fail(*words: str, wheels: bool = True) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(make_env, "install", fail)
        with pytest.raises(KeyboardInterrupt):
            make_env.main([])
    assert steps(make_env) == ["run.txt", "deepreg.txt", make_env.ROOT.name]


def test_an_interrupted_removal_leaves_no_half_in_place(make_env, monkeypatch):
    everything = steps(make_env)
    (make_env.LOCKS / "run.txt").write_text("changed")

    def interrupt(folder: Path, ignore_errors: bool = False) -> None:
        if folder.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(make_env.shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_env.main([])
    assert not make_env.VENV.exists()
    assert steps(make_env) == everything
    assert not make_env.VENV.with_name(".venv-old").exists()


def test_another_owner_of_our_commands_is_an_error(make_env, monkeypatch):
    make_bare = make_env.make_bare

    def with_deepreg_s_command() -> None:
        make_bare()
        (make_env.VENV / "bin" / "deepreg_predict").write_text("from deepreg import")

    monkeypatch.setattr(make_env, "make_bare", with_deepreg_s_command)
    with pytest.raises(SystemExit, match="deepreg_predict is not deepreg_meta's own"):
        make_env.main([])


def test_a_failing_step_ends_with_its_output_and_status():
    module = load("requirements/make_env.py")
    code = "print('the reason'); raise SystemExit(3)"
    with pytest.raises(SystemExit, match="(?s)the reason.*status 3"):
        module.run([sys.executable, "-c", code])


def test_an_unsupported_python_is_refused(make_env, monkeypatch):
    monkeypatch.setattr(make_env, "SUPPORTED", ((3, 0), (3, 1)))
    with pytest.raises(SystemExit, match="expected Python 3.10 to 3.12, got"):
        make_env.main([])
    assert not make_env.VENV.exists()
