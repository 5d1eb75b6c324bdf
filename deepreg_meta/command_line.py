"""What the commands do alike: files, devices, and how failures are told."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepreg_meta.config import RunConfig

logger = logging.getLogger(__name__)


def check_inputs_stay(folder: Path, paths: Iterable[str | Path]) -> None:
    """
    Refuse to replace the folder that an input is, or lies in.

    :param folder: of the results.
    :param paths: of all inputs.
    :raises ValueError: with the first of them that would be lost.
    """
    for path in paths:
        own = Path(path).expanduser().resolve()
        if folder.resolve() in (own, *own.parents):
            raise ValueError(
                f"--output: {folder} would be replaced, and {path} lies in it. Choose "
                "another name."
            )


def check_files(
    files: Mapping[str, str | Sequence[str] | None],
    words: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """
    Check that files are there, before TensorFlow takes its seconds to start.

    :param files: path, paths or None, by the flag that names them.
    :param words: what a flag takes that is no path.
    :raises FileNotFoundError: naming every missing one.
    """
    missing = []
    for flag, given in files.items():
        paths = [given] if isinstance(given, str) else list(given or ())
        others = (words or {}).get(flag, ())
        expected = f"{', '.join(others)} or a file" if others else "a file"
        missing += [
            f"{flag}: expected {expected}, found none: {path}"
            for path in paths
            if path not in others and not Path(path).expanduser().is_file()
        ]
    if missing:
        raise FileNotFoundError("\n".join(missing))


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

        found = tf.config.list_physical_devices("GPU")
    if gpu and not found:
        logger.warning("--gpu %s: no such GPU was found; the CPU computes.", gpu)


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


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM, as schedulers send it, for Ctrl-C: what is half done is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # the others cannot say what a signal does
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(call: Callable[[], object], closing: str, interrupted: str = "") -> int:
    """
    Run a command and tell its end in one line.

    :param call: does the work and returns what the closing line names.
    :param closing: with one {} for the result.
    :param interrupted: how to go on after an interruption, where that can be.
    :return: exit status: 0, 2 for what the user gave, 130 for an interruption.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with _terminated_as_interrupted():
            result = call()
    except (ValueError, OSError, ImportError) as err:
        if os.environ.get("DEEPREG_META_DEBUG"):
            raise
        logger.error("%s", err)
        return 2
    except KeyboardInterrupt:
        logger.error("Interrupted. %s", interrupted or "No results were written.")
        return 130
    logger.info(closing.format(result))
    return 0


def new_run_folder(
    log_root: str,
    log_dir: str,
    names: Sequence[str] = (),
    flags: str = "--log_root, --log_dir",
) -> Path:
    """
    Name the folder of a run; it is made when the first file is written.

    :param log_root: folder of all runs, ~ expanded.
    :param log_dir: name of the run; "" is the time.
    :param names: parts below it.
    :param flags: that name the folder, for the message.
    :raises ValueError: when it cannot be made there.
    """
    folder = Path(log_root).expanduser().joinpath(log_dir or time_stamp(), *names)
    absolute = folder.absolute()
    existing = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"{flags}: expected a folder to write to, got {folder}, but {existing} is "
            "not writable or not a folder."
        )
    return folder
