"""What the commands share: flags, devices, and how failures are told."""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deepreg_meta import __version__
from deepreg_meta.results.outputs import TRANSFORM_FORMATS, Outputs

if TYPE_CHECKING:
    from deepreg_meta.config import RunConfig

logger = logging.getLogger(__name__)

_TRUE = ("1", "true", "yes", "on", "")
_FALSE = ("0", "false", "no", "off")
INITIAL = ("config", "center", "header", "mass")  # of --initial, any other is a file


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
    add_device_arguments(parser)
    parser.add_argument(
        "--log_root", default="logs", help="Folder of all runs. Default: logs."
    )
    parser.add_argument(
        "--log_dir",
        "-l",
        default="",
        help="Name of the folder of this run, below log_root. Default: the time.",
    )


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --gpu and --gpu_allow_growth."""
    parser.add_argument(
        "--gpu",
        "-g",
        default=None,
        help='GPU indices, such as 0 or "0,1", which share the tasks of an episode in '
        'meta-training; "" is the CPU. Default: all visible GPUs, else the CPU.',
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


def read_steps(text: str) -> int:
    """
    Read --adapt-steps.

    :param text: of the command line.
    :raises argparse.ArgumentTypeError: for anything but an integer >= 0.
    """
    try:
        steps = int(text)
    except ValueError:
        steps = -1
    if steps < 0:
        raise argparse.ArgumentTypeError(f"expected an integer >= 0, got {text!r}")
    return steps


def read_seconds(text: str) -> float:
    """
    Read --adapt-seconds.

    :param text: of the command line.
    :raises argparse.ArgumentTypeError: for anything but a number > 0.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return seconds


def add_adapt_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --adapt-steps and --adapt-seconds, of which one may be given."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--adapt-steps",
        "--adapt_steps",
        type=read_steps,
        default=None,
        metavar="N",
        help="Updates of test-time adaptation for each pair; 0 is plain prediction. "
        "Default: adapt.steps of the configuration, else 0.",
    )
    either.add_argument(
        "--adapt-seconds",
        "--adapt_seconds",
        type=read_seconds,
        default=None,
        metavar="T",
        help="As many updates as fit into T seconds, compilation not counted; the "
        "best weights on the way are kept. Example: 2.5",
    )


def add_checkpoint_argument(
    parser: argparse._ActionsContainer, required: bool = False
) -> None:
    """Add --ckpt_path, to a parser or to a group of flags that exclude each other."""
    parser.add_argument(
        "--ckpt_path",
        "-k",
        required=required,
        help="Checkpoint, or the folder of a run: its newest one.",
    )


def add_registrar_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --keep and --config: how files that are no split are registered."""
    parser.add_argument(
        "--keep",
        choices=("best", "last"),
        default="best",
        help="Weights that register: those with the least loss, those of no update "
        "among them, or those of the last update. Default: best.",
    )
    parser.add_argument(
        "--config_path",
        "--config",
        "-c",
        nargs="*",
        default=[],
        metavar="YAML",
        help="Configuration files instead of the one saved with the run.",
    )


def add_initial_argument(parser: argparse.ArgumentParser) -> None:
    """Add --initial, one of INITIAL or a file."""
    parser.add_argument(
        "--initial",
        default="config",
        metavar="config|center|header|mass|FILE",
        help="How the images lie before the network: as the run's `align` says; "
        "centre to centre; by their headers; centre of mass to centre of mass; or by "
        "an affine transform, fixed to moving (.tfm, .txt, .h5). Default: config.",
    )


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is written of a pair: transforms, volumes, figure."""
    parser.add_argument(
        "--transform-format",
        "--transform_format",
        nargs="+",
        choices=TRANSFORM_FORMATS,
        default=["h5"],
        metavar="FORMAT",
        help="Of the transform, some of: h5 (ITK transform), nifti (displacement field "
        "in mm), deepreg and learn2reg (displacements in voxels). Default: h5.",
    )
    parser.add_argument(
        "--inverse",
        action="store_true",
        help="Write the inverse transform too, and how exact it is.",
    )
    parser.add_argument("--save_nifti", dest="save_nifti", action="store_true")
    parser.add_argument(
        "--no_nifti",
        dest="save_nifti",
        action="store_false",
        help="Do not write warped images, warped labels and transforms.",
    )
    parser.add_argument("--save_png", dest="save_png", action="store_true")
    parser.add_argument(
        "--no_png", dest="save_png", action="store_false", help="Do not draw figures."
    )
    parser.set_defaults(save_nifti=True, save_png=True)


def read_outputs(parsed: argparse.Namespace) -> Outputs:
    """
    Return what is written of a pair.

    :param parsed: with the arguments of `add_output_arguments`.
    """
    return Outputs(
        volumes=parsed.save_nifti,
        formats=tuple(parsed.transform_format) if parsed.save_nifti else (),
        inverse=parsed.inverse,
        figure=parsed.save_png is not False,
    )


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


def check_files(files: Mapping[str, str | Sequence[str] | None]) -> None:
    """
    Check that files are there, before TensorFlow takes its seconds to start.

    :param files: path, paths or None, by the flag that names them.
    :raises FileNotFoundError: naming every missing one.
    """
    missing = []
    for flag, given in files.items():
        paths = [given] if isinstance(given, str) else list(given or ())
        missing += [
            f"{flag}: expected a file, found none: {path}"
            for path in paths
            if not Path(path).expanduser().is_file()
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
