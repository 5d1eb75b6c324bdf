"""
The augmentations `affine` and `gaussian_field` as frozen models, as those of
`*_schema.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from deepreg_meta.config.section import (
    PositiveFloat,
    PositiveInt,
    Section,
    as_tuple,
    rule,
)


def _as_width(value: Any) -> Any:
    """Take one number as both ends of a range."""
    value = as_tuple(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value, value
    if isinstance(value, tuple) and len(value) == 2:
        low, high = value
        numbers = isinstance(low, (int, float)) and isinstance(high, (int, float))
        if numbers and low > high:
            raise ValueError("w_min > w_max")
    return value


_Width = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_as_width)]


class AffineConfig(Section):
    """`affine`: random affine maps of both images, independent of each other."""

    name: Literal["affine"] = "affine"
    scale: float = rule(
        "a number in [0, 0.5], how far the corners move, as a share of half the image; "
        "maps that move them further may flip it",
        default=0.1,
        ge=0,
        le=0.5,
    )


class GaussianFieldConfig(Section):
    """
    `gaussian_field`: smooth random deformation of the images.

    Lengths count pixels of a reference image, see `dataset/gaussian_field.py`.
    """

    name: Literal["gaussian_field"] = "gaussian_field"
    sigma: float = rule(
        "a number >= 0, the root mean square of the displacement's components",
        default=10.0,
        ge=0,
    )
    num_centers: PositiveInt | None = rule(
        "null (16 of an image, 64 of a volume) or an integer >= 1", default=None
    )
    width: _Width = rule(
        "a number > 0 or two, [w_min, w_max] with w_min <= w_max", default=(32.0, 64.0)
    )
    reference: PositiveFloat | None = rule(
        "a number > 0, the pixels along a side of the reference image, or null for the "
        "voxels of the image itself",
        default=256.0,
    )
    fold_free: bool = rule("true or false (true draws fields anew)", default=False)
    images: Literal["both", "moving", "fixed"] = rule(
        "both, moving or fixed", default="both"
    )
