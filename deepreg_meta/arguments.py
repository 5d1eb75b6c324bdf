"""The flags that commands share, and what is read from them."""

import argparse

from deepreg_meta import __version__
from deepreg_meta.results.outputs import TRANSFORM_FORMATS, Outputs

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
        help="Updates of test-time adaptation for each pair, with adapt.scales at each "
        "of them; 0 is plain prediction. Default: adapt.steps of the configuration, "
        "else 0.",
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


def add_network_arguments(parser: argparse.ArgumentParser, images: str) -> None:
    """
    Add --ckpt_path and --classical, of which one has to be given.

    :param parser: of a command that registers files.
    :param images: what displacements are fitted to, in words.
    """
    either = parser.add_mutually_exclusive_group(required=True)
    add_checkpoint_argument(either)
    either.add_argument(
        "--classical",
        action="store_true",
        help="Register without a network: the displacements themselves are fitted to "
        f"{images}. Files of --config are merged after its defaults.",
    )


def check_classical(parsed: argparse.Namespace) -> None:
    """
    Refuse flags about a network where none takes part.

    :param parsed: with the arguments of `add_network_arguments`.
    :raises ValueError: naming the flag.
    """
    if not parsed.classical:
        return
    for name in ("adapt_steps", "adapt_seconds", "carry", "together"):
        value = getattr(parsed, name, None)
        if value is not None and value is not False:
            got = "it" if value is True else value
            raise ValueError(
                f"--{name.replace('_', '-')}: expected none with --classical, which "
                f"has no network to adapt, got {got}. Updates are `adapt.field.steps` "
                "of a file for --config."
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
