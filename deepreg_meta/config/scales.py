"""`adapt.scales`, `train.scales` and `adapt.plateau`."""

import itertools
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deepreg_meta.config.loss_schema import LOSS_CHANGE_RULE, LossChange
from deepreg_meta.config.section import Section, as_tuple, rule

RISING_RULE = (
    "null or a list of scales in (0, 1], such as [1/4, 1/2, 1], each larger than the "
    "one before"
)
SCALES_RULE = f"{RISING_RULE}, the last one 1"


def _as_number(value: Any) -> Any:
    """Read a fraction such as 1/8, which YAML takes for a text."""
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_integer else value


Scale = Annotated[float, Field(gt=0, le=1), BeforeValidator(_as_number)]


class ScaleConfig(Section):
    """One of `adapt.scales`; a bare number is enough."""

    scale: Scale = rule("a number in (0, 1] or a fraction such as 1/8")
    learning_rate: float | None = rule(
        "null (that of adapt.optimizer) or a number > 0", default=None, gt=0
    )
    loss: LossChange = rule(LOSS_CHANGE_RULE, default=None)

    @model_validator(mode="before")
    @classmethod
    def _from_bare_number(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"scale": data}


class PlateauConfig(Section):
    """`adapt.plateau`: when the updates of a pair end early."""

    patience: int = rule("an integer >= 1, in updates", default=10, ge=1)
    min_delta: float = rule(
        "a number >= 0, the share of the least loss that counts as less",
        default=1.0e-3, ge=0,
    )  # fmt: skip


def _check_rising(scales: Any) -> Any:
    """Refuse scales that do not lead from coarse to fine."""
    if scales is None:
        return scales
    numbers = [getattr(scale, "scale", scale) for scale in scales]
    if not numbers or any(a >= b for a, b in itertools.pairwise(numbers)):
        raise ValueError("not from coarse to fine")
    return scales


def _check_full(scales: Any) -> Any:
    """Refuse scales that do not lead up to the full grid."""
    if scales is not None and scales[-1] != 1.0:
        raise ValueError("not up to the full grid")
    return scales


AdaptScales = Annotated[
    tuple[ScaleConfig, ...] | None,
    BeforeValidator(as_tuple),
    AfterValidator(_check_rising),
]
TrainScales = Annotated[
    tuple[Scale, ...] | None,
    BeforeValidator(as_tuple),
    AfterValidator(_check_rising),
    AfterValidator(_check_full),
]
