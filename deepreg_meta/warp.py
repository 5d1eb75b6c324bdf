"""
Apply a transform to an image, a label or points:

    deepreg_warp -i moving.nii.gz -t transform.h5 -o warped.nii.gz

DeepReg's `-i`, `-d` and `-o` keep their meaning. TensorFlow is not needed.
"""

import argparse
import sys
from collections.abc import Sequence

from deepreg_meta import arguments
from deepreg_meta import command_line as cli

_EPILOG = """\
Transforms lead from the fixed to the moving image, as ITK's do: the first one of -t is
applied to fixed points first, the initial one last.

examples:
  deepreg_warp -i moving.nii.gz -t transform.h5 -o warped.nii.gz
  deepreg_warp -i moving_label.nii.gz -t transform.h5 --label -o warped_label.nii.gz
  deepreg_warp -i fixed_label.nii.gz -t transform.h5 --to moving \\
      --reference moving.nii.gz --soft-label -o label_on_moving.nii.gz
  deepreg_warp -i fixed_points.fcsv -t transform.h5 --to moving -o moved.mrk.json
  deepreg_warp -i moving.nii.gz -d ddf.nii.gz -o warped.nii.gz
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: DeepReg's flags and ours."""
    parser = arguments.new_parser(
        "deepreg_warp", "Apply a transform to an image, a label or points.", _EPILOG
    )
    parser.add_argument(
        "--image",
        "-i",
        required=True,
        help="Image or label (.nii.gz, .nrrd, .png, ...), or points (.mrk.json, .fcsv, "
        ".csv).",
    )
    parser.add_argument(
        "--out",
        "-o",
        default="",
        help="Result; .nii.gz, .nii or, for one slice, .png for images (default: "
        "warped.nii.gz), .mrk.json or .csv for points (default: warped.mrk.json).",
    )
    _add_transform_arguments(parser)
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="Image of the space that things are brought to, whose grid the result "
        "has. Default: the grid of the first displacement field.",
    )
    parser.add_argument(
        "--source",
        metavar="FILE",
        help="For points: image of the space they come from. Needed for -d, for "
        "--initial mass, and for points in voxels (columns i, j, k).",
    )
    _add_sampling_arguments(parser)
    return parser


def _add_transform_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--ddf",
        "-d",
        help="Displacement field in DeepReg's layout: voxels, of the moving image.",
    )
    which.add_argument(
        "--transform",
        "-t",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Transforms: .h5, .tfm, .txt, .mat (ITK), .nii.gz (intent 1007, mm, LPS).",
    )
    parser.add_argument(
        "--initial",
        metavar="FILE|mass",
        help="Affine transform that follows -t or -d on the way from the fixed to the "
        "moving image, or `mass`: the translation that aligns the centres of mass.",
    )
    parser.add_argument(
        "--to",
        choices=("fixed", "moving"),
        default="fixed",
        help="Where things are brought. Images to `moving` and points to `fixed` need "
        "the inverse, whose residual is told. Default: fixed.",
    )
    parser.add_argument(
        "--save-transform",
        "--save_transform",
        metavar="FILE",
        help="Write the transforms in one file (.h5, .nii.gz), in the direction that "
        "resamples images: inverted for --to moving.",
    )


def _add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interpolation",
        choices=("linear", "nearest"),
        help="Default: linear; nearest with --label.",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--label",
        action="store_true",
        help="The image is a label: nearest voxel, values and type stay.",
    )
    kind.add_argument(
        "--soft-label",
        "--soft_label",
        action="store_true",
        help="The image is an index map, each value of which is interpolated linearly "
        "(the largest share wins), or a soft label in [0, 1].",
    )
    parser.add_argument(
        "--outside",
        type=float,
        default=0.0,
        metavar="VALUE",
        help="Value outside the image. Default: 0.",
    )


def main(args: Sequence[str] | None = None) -> int:
    """
    Run `deepreg_warp`.

    :param args: command line, None for that of the process.
    :return: exit status.
    """
    parsed = build_parser().parse_args(args)

    def call() -> object:
        from deepreg_meta.warping import warp

        return warp(
            image_path=parsed.image,
            out_path=parsed.out,
            ddf_path=parsed.ddf,
            transform_paths=parsed.transform,
            initial=parsed.initial,
            reference_path=parsed.reference,
            source_path=parsed.source,
            to=parsed.to,
            interpolation=parsed.interpolation,
            label=parsed.label,
            soft_label=parsed.soft_label,
            outside=parsed.outside,
            save_transform_path=parsed.save_transform,
        )

    return cli.run(call, "The result is in {}")


if __name__ == "__main__":
    sys.exit(main())
