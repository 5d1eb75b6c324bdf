"""
`dataset.spacing_mm`, `dataset.grid` and `dataset.intensity`: how volumes are brought
from their files to the network.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from deepreg_meta.config.section import (
    PositiveFloat,
    RuleError,
    Section,
    as_tuple,
    rule,
)

_AXES = ("RL", "AP", "SI")  # the two directions of each axis of the body
_CLIP_KEYS = ("percentiles", "sigmas", "range")
# The keys of each step beside its name.
_STEP_KEYS = {
    "clip": _CLIP_KEYS,
    "z_score": (),
    "equalize": (),
    "match": ("reference",),
}
_FIXED = "fixed"  # as a reference: the fixed image of the pair


def _as_sides(value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (value,) * 3 if is_number else as_tuple(value)


_Sides = Annotated[
    tuple[PositiveFloat, ...],
    Field(min_length=2, max_length=3),
    BeforeValidator(_as_sides),
]
_SIDES_RULE = "null, a number or three numbers > 0, in mm"
SPACING_RULE = (
    "null, a number, three numbers > 0 (of 2-D images two), or a mapping with moving "
    "and fixed"
)


def _both(data: Any) -> Any:
    """Take what is no mapping for the moving and the fixed images alike."""
    is_short = data is not None and not isinstance(data, dict)
    return {"moving": data, "fixed": data} if is_short else data


class SpacingConfig(Section):
    """`dataset.spacing_mm`, `dataset.grid.spacing_mm`: two or three voxel sides."""

    moving: _Sides | None = rule(_SIDES_RULE, default=None)
    fixed: _Sides | None = rule(_SIDES_RULE, default=None)

    @model_validator(mode="before")
    @classmethod
    def _from_bare_sides(cls, data: Any) -> Any:
        return _both(data)


def _check_orientation(code: str) -> str:
    letters = [letter for letter in code for axis in _AXES if letter in axis]
    axes = {axis for axis in _AXES for letter in code if letter in axis}
    if len(code) != 3 or len(letters) != 3 or len(axes) != 3:
        raise ValueError("not one letter for each axis")
    return code


class GridConfig(Section):
    """`dataset.grid`: the network's voxels, by default the files', stretched."""

    spacing_mm: SpacingConfig | None = rule(SPACING_RULE, default=None)
    fit: Literal["resize", "pad"] = rule("resize or pad", default="resize")
    padding: Literal["background", "ignore"] = rule(
        "background or ignore", default="background"
    )
    orientation: Annotated[str, AfterValidator(_check_orientation)] | None = rule(
        "null or three letters, one each of R and L, A and P, S and I, such as RAS",
        default=None,
    )


def _as_interval(value: Any) -> Any:
    value = as_tuple(value)
    if isinstance(value, tuple) and len(value) == 2:
        is_number = all(isinstance(end, (int, float)) for end in value)
        if is_number and value[0] >= value[1]:
            raise ValueError("low >= high")
    return value


_Percentile = Annotated[float, Field(ge=0, le=100)]


class IntensityStep(Section):
    """One of `dataset.intensity`."""

    name: Literal["clip", "z_score", "equalize", "match"] = rule(
        "clip, z_score, equalize or match"
    )
    percentiles: (
        Annotated[tuple[_Percentile, _Percentile], BeforeValidator(_as_interval)] | None
    ) = rule("two numbers [low, high] with 0 <= low < high <= 100", default=None)
    sigmas: float | None = rule("a number > 0", default=None, gt=0)
    range: Annotated[tuple[float, float], BeforeValidator(_as_interval)] | None = rule(
        "two numbers [low, high] with low < high", default=None
    )
    reference: str | None = rule(
        "the path of a volume, or fixed for the fixed image of the pair",
        default=None, min_length=1,
    )  # fmt: skip

    @property
    def is_matched_to_pair(self) -> bool:
        """Whether the step needs the fixed image of the pair."""
        return self.reference == _FIXED

    @property
    def file(self) -> str | None:
        """The volume that images are matched to, ~ expanded; None without one."""
        if self.reference is None or self.is_matched_to_pair:
            return None
        return str(Path(self.reference).expanduser())

    @model_validator(mode="after")
    def _check_keys(self) -> "IntensityStep":
        given = [k for k in (*_CLIP_KEYS, "reference") if getattr(self, k) is not None]
        wanted = _STEP_KEYS[self.name]
        if len(given) == min(len(wanted), 1) and set(given) <= set(wanted):
            return self
        keys = "no key beside it"
        if wanted:
            keys = f"one of {', '.join(wanted)}" if len(wanted) > 1 else wanted[0]
        raise RuleError(f"name {self.name} with {keys}")

    @model_serializer(mode="wrap")
    def _without_nulls(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


def _as_steps(value: Any) -> Any:
    return () if value is None else as_tuple(value)


_Steps = Annotated[tuple[IntensityStep, ...], BeforeValidator(_as_steps)]
_STEPS_RULE = "a list of steps, each a mapping with name"


class IntensityConfig(Section):
    """`dataset.intensity`: steps in order, on the voxels of the files."""

    moving: _Steps = rule(_STEPS_RULE, default=())
    fixed: _Steps = rule(_STEPS_RULE, default=())

    @model_validator(mode="before")
    @classmethod
    def _from_bare_list(cls, data: Any) -> Any:
        return _both(data)
