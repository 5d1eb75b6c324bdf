"""
Segment images by atlases, whose labels a trained network, or --classical without one,
brings to them:

    deepreg_segment --target T.nii.gz --atlas-images DIR --atlas-labels DIR \\
        --ckpt_path logs/<run> --output DIR

TensorFlow is imported only after the command line and the names of all files have been
checked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepreg_meta import arguments
from deepreg_meta import command_line as cli

if TYPE_CHECKING:
    from deepreg_meta.atlas.fuse import Fusion
    from deepreg_meta.atlas.segmenter import Job
    from deepreg_meta.dataset.image_folder import ImageFiles

_EPILOG = """\
Images and labels belong together by their names without suffix. Labels are index maps:
a whole number for each voxel, 0 for background. The network never sees them.

examples:
  deepreg_segment --target t.nii.gz --atlas-images images --atlas-labels labels \\
      --ckpt_path logs/first --adapt-steps 8 --output segmented
  deepreg_segment --targets images --target-labels labels --pairs pairs.json \\
      --atlas-images images --atlas-labels labels --ckpt_path logs/first --output all
  deepreg_segment --target t.nii.gz --atlas-images a.nii.gz --atlas-labels l.nii.gz \\
      --template-images unlabelled --classical --output voted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = arguments.new_parser(
        "deepreg_segment",
        "Segment images by registering atlases, images with known labels, to them.",
        _EPILOG,
    )
    _add_files(parser)
    arguments.add_network_arguments(parser, "each atlas and the target")
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="Folder of the results."
    )
    _add_selection(parser)
    _add_fusion(parser)
    arguments.add_adapt_arguments(parser)
    arguments.add_registrar_arguments(parser)
    arguments.add_initial_argument(parser)
    parser.add_argument(
        "--no_png", dest="save_png", action="store_false", help="Do not draw figures."
    )
    arguments.add_device_arguments(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    """Add targets and atlases."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--target", metavar="FILE", help="The image to be segmented.")
    which.add_argument(
        "--targets",
        nargs="+",
        metavar="DIR|FILE",
        help="Several of them; each gets a folder below --output.",
    )
    parser.add_argument(
        "--target-label", metavar="FILE", help="Its true labels, for scores alone."
    )
    parser.add_argument(
        "--target-labels",
        nargs="+",
        metavar="DIR|FILE",
        help="Those of --targets, one for each.",
    )
    for kind in ("images", "labels"):
        parser.add_argument(
            f"--atlas-{kind}",
            nargs="+",
            required=True,
            metavar="DIR|FILE",
            help=f"The {kind} of the atlases.",
        )
    parser.add_argument(
        "--template-images",
        nargs="+",
        default=[],
        metavar="DIR|FILE",
        help="Images without labels: those of the atlases go to the target through "
        "each of them as well, and all ways are fused.",
    )
    parser.add_argument(
        "--pairs",
        metavar="JSON",
        help='Which atlases each target has, such as {"t1": "a7", "t2": ["a3", "a9"]} '
        'or [{"test": "t1", "atlas": "a7"}]; other targets are left out. Default: any.',
    )


def _add_selection(parser: argparse.ArgumentParser) -> None:
    """Add how atlases are chosen."""
    parser.add_argument(
        "--num-atlases",
        type=int,
        metavar="N",
        help="The N most similar atlases. Default: 5 at most, or all of --pairs.",
    )
    parser.add_argument(
        "--num-templates",
        type=int,
        metavar="N",
        help="The N most similar images of --template-images. Default: 4, or all.",
    )
    parser.add_argument(
        "--select",
        choices=("ncc", "nlcc"),
        default="ncc",
        help="Similarity before registration: correlation of the whole images, or the "
        "mean squared one in windows of 9 voxels. Default: ncc.",
    )
    parser.add_argument(
        "--allow-self",
        action="store_true",
        help="Let the file of a target be its own atlas.",
    )


def _add_fusion(parser: argparse.ArgumentParser) -> None:
    """Add how labels are fused."""
    parser.add_argument(
        "--fusion",
        choices=("majority", "weighted", "joint", "staple"),
        default="joint",
        help="Of the labels of several atlases: a vote for each, votes weighted by the "
        "similarity of the images, joint label fusion, or STAPLE. Default: joint.",
    )
    parser.add_argument(
        "--weights",
        choices=("local", "global"),
        help="Of --fusion weighted: by patches around each voxel, or by the whole "
        "images. Default: local.",
    )
    parser.add_argument(
        "--beta",
        type=float,
        help="Power of similarities (weighted) or of errors (joint). Default: 2.",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        help="Of --fusion joint: added to the diagonal of the errors. Default: 0.1.",
    )
    parser.add_argument(
        "--patch-radius",
        type=int,
        metavar="VOXELS",
        help="Of the patches that images are compared by. Default: 2.",
    )
    parser.add_argument(
        "--search-radius",
        type=int,
        metavar="VOXELS",
        help="How far each atlas may look for the patch most like that of the target. "
        "Default: 0.",
    )
    parser.add_argument(
        "--label-interpolation",
        choices=("linear", "nearest"),
        default="linear",
        help="Of the atlases' labels: linear, each structure by itself, the largest "
        "share wins; or the nearest voxel. Default: linear.",
    )


def segment(parsed: argparse.Namespace) -> Path:
    """
    Segment one image, or several.

    :param parsed: command line.
    :return: folder of the results.
    :raises ValueError: for files or options that cannot be used.
    :raises FileNotFoundError: for missing files.
    """
    from deepreg_meta.atlas.folder import check_output
    from deepreg_meta.atlas.options import Options
    from deepreg_meta.checkpoint_path import newest_checkpoint
    from deepreg_meta.results.folder import whole_folder

    folder = cli.new_run_folder(parsed.output, ".", flags="--output")
    check_output(folder)
    arguments.check_classical(parsed)
    if not parsed.classical:
        newest_checkpoint(parsed.ckpt_path)
    fusion = _fusion_of(parsed)
    options = Options(
        num_atlases=parsed.num_atlases,
        select=parsed.select,
        fusion=fusion,
        interpolation=parsed.label_interpolation,
        adapt_steps=parsed.adapt_steps,
        adapt_seconds=parsed.adapt_seconds,
        keep=parsed.keep,
        initial=parsed.initial,
        allow_self=parsed.allow_self,
        num_templates=parsed.num_templates,
    )
    atlases, jobs = find_jobs(parsed)
    templates = find_templates(parsed)
    images = [*(target for target, _ in jobs), *atlases, *templates]
    cli.check_inputs_stay(folder, _inputs(parsed, images))
    cli.prepare_tensorflow(parsed.gpu, parsed.gpu_allow_growth)
    from deepreg_meta.atlas.run import segment_many, segment_one
    from deepreg_meta.atlas.segmenter import Segmenter
    from deepreg_meta.classical import common_config, stored_grid
    from deepreg_meta.registration import Registrar

    if parsed.classical:
        grids = [stored_grid(own.image) for own in images]
        config = common_config(grids, parsed.config_path)
        registrar = Registrar(None, config=config)
    else:
        registrar = Registrar(parsed.ckpt_path, parsed.config_path)
    segmenter = Segmenter(registrar, atlases, options, templates)
    with whole_folder(folder) as working:
        if parsed.targets is None:
            text = segment_one(segmenter, jobs[0], working, parsed.save_png)
        else:
            text = segment_many(segmenter, jobs, working, parsed.save_png)
        segmenter.dump_config(working / "config.yaml")
    sys.stdout.write(f"{text}\n")
    return folder


def find_jobs(parsed: argparse.Namespace) -> tuple[list["ImageFiles"], list["Job"]]:
    """
    Find all files and check that labels fit their images, by headers alone.

    :param parsed: command line.
    :return: the atlases; each target with those that are meant for it, None for all.
    :raises ValueError: for files that have no partner or do not fit it.
    :raises FileNotFoundError: for missing files.
    """
    from deepreg_meta.atlas.files import find_files, read_pairs, single
    from deepreg_meta.atlas.label_map import check_headers

    _check_flags(parsed)
    atlases = find_files(parsed.atlas_images, parsed.atlas_labels)
    if parsed.targets is None:
        targets = [single(parsed.target, parsed.target_label)]
    else:
        flags = "--targets", "--target-labels"
        targets = find_files(parsed.targets, parsed.target_labels, flags)
    jobs: list[Job] = [(target, None) for target in targets]
    if parsed.pairs is not None:
        jobs = list(read_pairs(parsed.pairs, targets, atlases))
        named = {atlas for _, own in jobs for atlas in own or ()}
        atlases = [atlas for atlas in atlases if atlas in named]
    check_headers(dict.fromkeys([*atlases, *(target for target, _ in jobs)]))
    return atlases, jobs


def find_templates(parsed: argparse.Namespace) -> list["ImageFiles"]:
    """
    Find the images without labels.

    :param parsed: command line.
    :raises ValueError: for flags that do not go together.
    :raises FileNotFoundError: for missing files.
    """
    from deepreg_meta.atlas.files import find_files

    if not parsed.template_images:
        if parsed.num_templates is not None:
            raise ValueError(
                "--num-templates: expected --template-images with it, got none."
            )
        return []
    if parsed.initial not in arguments.INITIAL:
        raise ValueError(
            f"--initial: expected one of {', '.join(arguments.INITIAL)} with "
            "--template-images, as a file is of the target and its atlas alone, got "
            f"{parsed.initial}."
        )
    flags = "--template-images", ""
    return find_files(parsed.template_images, None, flags)


def _fusion_of(parsed: argparse.Namespace) -> "Fusion":
    """
    Return how labels are fused.

    :raises ValueError: for options out of range, or that the method does not use.
    """
    from deepreg_meta.atlas.fuse import Fusion

    names = ("weights", "alpha", "beta", "patch_radius", "search_radius")
    given = {n: getattr(parsed, n) for n in names if getattr(parsed, n) is not None}
    fusion = Fusion(parsed.fusion, **given)
    for name in given:
        if name not in fusion.used:
            flag = "--" + name.replace("_", "-")
            method: str = fusion.method
            if method == "weighted" and fusion.weights == "global":
                method += " --weights global"
            raise ValueError(
                f"{flag}: expected none with --fusion {method}, which does not use it, "
                f"got {given[name]}."
            )
    return fusion


def _check_flags(parsed: argparse.Namespace) -> None:
    """Check files that flags name one by one, and flags that go with another one."""
    files = {"--target": parsed.target, "--target-label": parsed.target_label}
    files["--initial"] = parsed.initial
    cli.check_files(files, {"--initial": arguments.INITIAL})
    for flag, given, partner, there in (
        ("--target-label", parsed.target_label, "--target", parsed.target),
        ("--target-labels", parsed.target_labels, "--targets", parsed.targets),
    ):
        if given is not None and there is None:
            raise ValueError(f"{flag}: expected {partner} with it, got none.")


def _inputs(
    parsed: argparse.Namespace, images: Sequence["ImageFiles"]
) -> list[str | Path]:
    """Return the paths of all inputs."""
    paths = [path for own in images for path in (own.image, own.label) if path]
    named = [] if parsed.initial in arguments.INITIAL else [parsed.initial]
    return [*paths, *(path for path in (parsed.pairs, *named) if path)]


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_segment`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parsed = build_parser().parse_args(args)
    return cli.run(lambda: segment(parsed), "The results are in {}")


if __name__ == "__main__":
    sys.exit(main())
