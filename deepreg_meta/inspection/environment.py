"""What a run needs of the machine: packages, devices, memory, folders to write to."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from deepreg_meta import __version__, stack
from deepreg_meta import command_line as cli
from deepreg_meta.inspection.finding import Finding, Section, problems, warnings
from deepreg_meta.inspection.scripts import find_scripts, judge_scripts, script_section

# Beside the stack that `stack.py` checks; setup.cfg demands the same.
MINIMUM = {
    "tensorboard": "2.16",
    "numpy": "1.26",
    "scipy": "1.11",
    "pandas": "2.0",
    "nibabel": "5.0",
    "h5py": "3.10",
    "pyyaml": "6.0",
    "pydantic": "2.0",
    "matplotlib": "3.8",
    "tqdm": "4.60",
    "SimpleITK": "2.3",
    "pillow": "10.0",
}
_VARIABLES = {"TF_USE_LEGACY_KERAS": "1", "TF_ENABLE_ONEDNN_OPTS": "1 on x86"}
_MIN_FREE_GB = 2.0
_NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Machine:
    """
    What TensorFlow and the system say of the machine.

    :param num_cores: cores that this process may use, and all.
    :param memory_gb: memory in all and free, None where the system does not tell.
    :param gpus: names of the GPUs that TensorFlow sees; None when it was not asked.
    :param num_driver_gpus: GPUs that the NVIDIA driver knows.
    """

    num_cores: tuple[int, int]
    memory_gb: tuple[float, float | None] | None
    gpus: tuple[str, ...] | None
    num_driver_gpus: int


def check_environment(
    log_root: str, ask_tensorflow: bool = True
) -> tuple[list[Section], list[Finding]]:
    """
    Check versions, devices, commands and folders.

    :param log_root: folder of all runs.
    :param ask_tensorflow: import TensorFlow, where the versions allow it, and list
        its devices; it takes some seconds.
    :return: tables, and what is wrong.
    """
    section, found = check_packages()
    machine = read_machine(ask_tensorflow and not stack_problems())
    scripts = find_scripts()
    folders, found_folders = check_folders(log_root)
    found += _judge_machine(machine) + judge_scripts(scripts) + found_folders
    return [section, machine_section(machine), script_section(scripts), folders], found


def stack_problems() -> list[tuple[str, str | None]]:
    """Return what `stack.require_stack` would object to."""
    return stack.find_problems(
        python=sys.version_info[:2],
        deepreg=stack.installed_version("deepreg"),
        tensorflow=stack.installed_version(*stack.TENSORFLOW_NAMES),
        tf_keras=stack.installed_version("tf-keras"),
    )


def check_packages() -> tuple[Section, list[Finding]]:
    """Compare the versions of all packages with what is needed."""
    tensorflow = stack.installed_version(*stack.TENSORFLOW_NAMES)
    minor = stack.minor_version(tensorflow)
    keras = ".".join(map(str, minor or stack.MIN_TENSORFLOW))
    rows = [
        ("deepreg_meta", __version__, ""),
        ("Python", platform.python_version(), "3.10 to 3.12"),
        ("tensorflow", tensorflow, "2.16 or newer"),
        ("tf-keras", stack.installed_version("tf-keras"), f"{keras}, as tensorflow"),
        ("deepreg", stack.installed_version("deepreg"), stack.DEEPREG),
    ]
    found: list[Finding] = []
    for rule, arguments in stack_problems():
        cure = f" Type `{sys.executable} -m pip install {arguments}`."
        found += problems(
            "packages that do not fit", [rule + (cure if arguments else "")]
        )
    for name, minimum in MINIMUM.items():
        version = stack.installed_version(name)
        rows.append((name, version, f"{minimum} or newer"))
        have, need = stack.minor_version(version), stack.minor_version(minimum)
        if have is None or need is None or have < need:
            found += problems(
                "packages that do not fit",
                [
                    f"{name}: expected {minimum} or newer, found {version or 'none'}. "
                    f'Type `{sys.executable} -m pip install "{name}>={minimum}"`.'
                ],
            )
    rows += [(name, *_variable(name, rule)) for name, rule in _VARIABLES.items()]
    cells = [(name, version or "none", rule) for name, version, rule in rows]
    return Section("Packages", ("name", "found", "expected"), cells), found


def _variable(name: str, rule: str) -> tuple[str, str]:
    return os.environ.get(name) or "not set", f"{rule}; set by the commands themselves"


def read_machine(ask_tensorflow: bool) -> Machine:
    """
    Ask for cores, memory and GPUs.

    :param ask_tensorflow: list the GPUs that TensorFlow sees.
    """
    gpus: tuple[str, ...] | None = None
    if ask_tensorflow:
        cli.prepare_tensorflow(None, True)
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        details = map(tf.config.experimental.get_device_details, devices)
        gpus = tuple(detail.get("device_name", "GPU") for detail in details)
    everything = os.cpu_count() or 1
    usable = everything
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        usable = len(os.sched_getaffinity(0))
    drivers = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    return Machine((usable, everything), _memory_gb(), gpus, drivers)


def _memory_gb() -> tuple[float, float | None] | None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (ValueError, OSError, AttributeError):
        return None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = [int(line.split()[1]) for line in lines if "MemAvailable" in line]
    except (OSError, ValueError, IndexError):
        free = []
    return total, free[0] * 1024 / 1e9 if free else None


def machine_section(machine: Machine) -> Section:
    """Return the table of the devices."""
    usable, everything = machine.num_cores
    rows = [("CPU", f"{usable} of {everything} cores")]
    if machine.memory_gb is not None:
        total, free = machine.memory_gb
        shown = f"{total:.1f} GB" + (f", {free:.1f} GB free" if free else "")
        rows.append(("memory", shown))
    if machine.gpus is None:
        rows.append(("GPU", "not looked for"))
    for name in machine.gpus or ():
        rows.append(("GPU", name))
    if machine.gpus == ():
        rows.append(("GPU", "none: networks run on the CPU"))
    return Section("Devices", ("device", "found"), rows)


def _judge_machine(machine: Machine) -> list[Finding]:
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if machine.gpus != () or not machine.num_driver_gpus or is_hidden:
        return []
    return warnings(
        "GPUs that TensorFlow does not use",
        [
            f"The driver knows {machine.num_driver_gpus}, TensorFlow sees none: its "
            f"CUDA libraries are missing. Type `{sys.executable} -m pip install "
            '"deepreg_meta[gpu]"`.'
        ],
    )


def check_folders(log_root: str) -> tuple[Section, list[Finding]]:
    """
    Check that runs and generated data can be written.

    :param log_root: folder of all runs; it need not exist.
    """
    cache = os.environ.get("DEEPREG_META_CACHE") or "~/.cache/deepreg_meta"
    rows, found = [], []
    for name, folder in (("runs", log_root), ("generated data", cache)):
        path = Path(folder).expanduser().absolute()
        existing = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(existing).free / 1e9
        is_writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        state = "can be written" if is_writable else "cannot be written"
        rows.append((name, state, f"{free:.1f} GB free", str(path)))
        if not is_writable:
            option = "--log_root" if name == "runs" else "DEEPREG_META_CACHE"
            found += problems(
                "folders that cannot be written",
                [
                    f"{path}: expected a folder to write {name} to, but {existing} is "
                    f"not writable or not a folder. Name another one by {option}."
                ],
            )
        elif free < _MIN_FREE_GB:
            found += warnings(
                "little space on the disk",
                [f"{path}: expected {_MIN_FREE_GB:g} GB or more, got {free:.2f} GB."],
            )
    return Section("Folders", ("for", "state", "disk", "folder"), rows), found
