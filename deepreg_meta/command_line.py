"""What the commands share: flags, devices, and how failures are told."""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deepreg_meta import __version__

if TYPE_CHECKING:
    from deepreg_meta.config import RunConfig

logger = logging.getLogger(__name__)

_TRUE = ("1", "true", "yes", "on", "")
_FALSE = ("0", "false", "no", "off")


def parse_bool(text: str) -> bool:
    """
    Read a truth value; DeepReg takes any word, `False` included, for true.

    :param text: 1, true, yes, on or 0, false, no, off.
    :raises argparse.ArgumentTypeError: for another word.
    """
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def new_parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser with --version, which says which package answers."""
    parser = argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"{name} of deepreg_meta {__version__} (extends DeepReg 0.1.2)",
    )
    return parser


def add_common_arguments(
    parser: argparse.ArgumentParser, config_required: bool
) -> None:
    """Add the flags that training and prediction share, with DeepReg's names."""
    parser.add_argument(
        "--config_path",
        "--config",
        "-c",
        nargs="+" if config_required else "*",
        required=config_required,
        default=[],
        metavar="YAML",
        help="Configuration files, merged left to right."
        + ("" if config_required else " Default: the one saved with the run."),
    )
    parser.add_argument(
        "--gpu",
        "-g",
        default=None,
        help='GPU indices, such as 0 or "0,1"; "" is the CPU. Default: all visible '
        "GPUs, else the CPU.",
    )
    parser.add_argument(
        "--gpu_allow_growth",
        "-gr",
        nargs="?",
        const=True,
        default=False,
        type=parse_bool,
        help="Take GPU memory as needed instead of all of it.",
    )
    parser.add_argument(
        "--log_root", default="logs", help="Folder of all runs. Default: logs."
    )
    parser.add_argument(
        "--log_dir",
        "-l",
        default="",
        help="Name of the folder of this run, below log_root. Default: the time.",
    )


def time_stamp() -> str:
    """Return the name that DeepReg gives a run."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def prepare_tensorflow(gpu: str | None, allow_growth: bool) -> None:
    """Choose devices, import TensorFlow quietly and register our entries."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    # the same meaning in training and prediction; DeepReg's predict inverts it
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true" if allow_growth else "false"
    import deepreg_meta

    with _quiet_native_stderr():
        deepreg_meta.register()
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _quiet_native_stderr() -> Iterator[None]:
    """
    Hold back what native libraries write while TensorFlow starts.

    A dozen lines about CUDA and oneDNN, on every CPU, would bury our own messages, and
    TF_CPP_MIN_LOG_LEVEL does not reach them. Shown after a failure, and always with
    DEEPREG_META_DEBUG set.
    """
    if os.environ.get("DEEPREG_META_DEBUG"):
        yield
        return
    sys.stderr.flush()
    keep = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(keep, held.read())
            raise
        finally:
            os.dup2(keep, 2)
            os.close(keep)


def visible_gpus(gpu: str | None) -> str:
    """Return DeepReg's `gpu`, which sets CUDA_VISIBLE_DEVICES whatever it was."""
    if gpu is not None:
        return gpu
    import tensorflow as tf

    number = len(tf.config.list_physical_devices("GPU"))
    default = ",".join(str(index) for index in range(number))
    return os.environ.get("CUDA_VISIBLE_DEVICES", default)


@contextlib.contextmanager
def deepreg_config_file(config: "RunConfig") -> Iterator[str]:
    """Write what DeepReg's own code may see of a configuration to a passing file."""
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config.deepreg_config(), sort_keys=False))
        yield str(path)


def run(call: Callable[[], object], closing: str) -> int:
    """
    Run a command and tell its end in one line.

    :param call: does the work and returns what the closing line names.
    :param closing: with one {} for the result.
    :return: exit status: 0, 2 for what the user gave, 130 for an interruption.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        result = call()
    except (ValueError, OSError, ImportError) as err:
        if os.environ.get("DEEPREG_META_DEBUG"):
            raise
        logger.error("%s", err)
        return 2
    except KeyboardInterrupt:
        logger.error(
            "Interrupted. Continue with --ckpt_path and the folder of the run."
        )
        return 130
    logger.info(closing.format(result))
    return 0


def new_run_folder(log_root: str, log_dir: str, names: Sequence[str] = ()) -> Path:
    """
    Name the folder of a run; it is made when the first file is written.

    :param log_root: folder of all runs, ~ expanded.
    :param log_dir: name of the run; "" is the time.
    :param names: parts below it.
    :raises ValueError: when it cannot be made there.
    """
    folder = Path(log_root).expanduser().joinpath(log_dir or time_stamp(), *names)
    absolute = folder.absolute()
    existing = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"--log_root, --log_dir: expected a folder to write to, got {folder}, but "
            f"{existing} is not writable or not a folder."
        )
    return folder
