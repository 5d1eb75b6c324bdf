"""Which files are written of a registered pair."""

from dataclasses import dataclass

# ITK transform, displacement field in mm, displacements in voxels under two names
TRANSFORM_FORMATS = ("h5", "nifti", "deepreg", "learn2reg")


@dataclass(frozen=True)
class Outputs:
    """
    Which files are written of a pair.

    :param volumes: warped image and labels.
    :param formats: of the transform, some of TRANSFORM_FORMATS; empty for none.
    :param inverse: the inverse of the transform too, and how exact it is.
    :param figure: the page of pictures.
    """

    volumes: bool = True
    formats: tuple[str, ...] = ("h5",)
    inverse: bool = False
    figure: bool = True

    def __post_init__(self) -> None:
        """:raises ValueError: for another format."""
        unknown = [name for name in self.formats if name not in TRANSFORM_FORMATS]
        if unknown:
            raise ValueError(
                f"--transform-format: expected some of "
                f"{', '.join(TRANSFORM_FORMATS)}, got {', '.join(unknown)}."
            )

    @property
    def is_none(self) -> bool:
        """Whether nothing is written of a pair."""
        return not (self.volumes or self.formats or self.figure)
