"""The sections `align`, `adapt` and `sparse_frames` as frozen models."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from deepreg_meta.config.loss_schema import LOSS_CHANGE_RULE, LossChange
from deepreg_meta.config.optimizer_schema import OptimizerConfig
from deepreg_meta.config.scales import (
    RISING_RULE,
    SCALES_RULE,
    AdaptScales,
    PlateauConfig,
    TrainScales,
)
from deepreg_meta.config.section import PositiveInt as _PositiveInt
from deepreg_meta.config.section import RuleError, Section
from deepreg_meta.config.section import as_tuple as _as_tuple
from deepreg_meta.config.section import rule as _rule

# at the head of a saved configuration: the seconds that updates had to fit into
SECONDS_REMARK = "adapt-seconds"


def _as_frames(value: Any) -> Any:
    value = _as_tuple(value)
    if isinstance(value, tuple) and len(value) == 2:
        low, high = value
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise ValueError("F_min > F_max")
    return value


_Frames = Annotated[tuple[_PositiveInt, _PositiveInt], BeforeValidator(_as_frames)]


_FRAMES_RULE = "two integers [F_min, F_max] with 1 <= F_min <= F_max"


class SparseFramesConfig(Section):
    """The augmentation `sparse_frames`: how many frames of the fixed image are kept."""

    name: Literal["sparse_frames"] = "sparse_frames"
    frames: _Frames = _rule(_FRAMES_RULE)
    axis: int = _rule("0, 1 or 2, the axis across the frames", ge=0, le=2)
    reverse: bool = _rule(
        "true or false (true sweeps from the high index to the low)", default=False
    )


class AlignConfig(Section):
    """`align`: how the moving grid lies on the fixed one; a bare mode is enough."""

    mode: Literal["corner", "center", "affine", "centroid", "sections"] = _rule(
        "corner, center, affine, centroid or sections", default="center"
    )
    label: int = _rule(
        "an integer >= 0, the label channel of the centroid", default=0, ge=0
    )

    @model_validator(mode="before")
    @classmethod
    def _from_bare_mode(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"mode": data}


def _check_steps(steps: Any) -> Any:
    numbers = steps if isinstance(steps, tuple) else (steps,)
    if not numbers or min(numbers) < 0:
        raise ValueError("a negative number, or none at all")
    return steps


_Steps = Annotated[
    int | tuple[int, ...], BeforeValidator(_as_tuple), AfterValidator(_check_steps)
]


class FieldConfig(Section):
    """`adapt.field`: after the network, the field itself is fitted to the pair."""

    scales: TrainScales = _rule(SCALES_RULE, default=(0.5, 1.0))
    steps: _Steps = _rule(
        "an integer >= 0, the number of updates, or a list of them, one for each scale",
        default=40,
    )
    sigma_vox: float = _rule(
        "a number >= 0, in voxels of each scale's grid", default=2.0, ge=0
    )
    optimizer: OptimizerConfig = _rule(
        "a mapping with name and learning_rate",
        default=OptimizerConfig(name="Adam", learning_rate=0.5),
    )
    loss: LossChange = _rule(LOSS_CHANGE_RULE, default=None)

    @field_validator("scales")
    @classmethod
    def _check_scales(cls, scales: TrainScales) -> TrainScales:
        if not scales:
            raise RuleError("a list of scales")
        return scales

    @field_validator("steps")
    @classmethod
    def _check_number(cls, steps: _Steps, info: ValidationInfo) -> _Steps:
        count = len(info.data.get("scales", ()))
        if count and not isinstance(steps, int) and len(steps) != count:
            raise RuleError(f"one integer or {count}, one for each of scales")
        return steps

    @property
    def all_steps(self) -> tuple[int, ...]:
        """The updates of each scale."""
        steps = self.steps
        count = len(self.scales or ())
        return (steps,) * count if isinstance(steps, int) else steps


class AdaptConfig(Section):
    """`adapt`: adaptation at test time. A null is filled in by `RunConfig`."""

    steps: _Steps = _rule(
        "an integer >= 0, the number of updates, or a list of them, one for each scale",
        default=0,
    )
    scales: AdaptScales = _rule(RISING_RULE, default=None)
    scale_start: Literal["previous", "own"] = _rule(
        "previous or own", default="previous"
    )
    plateau: PlateauConfig | None = _rule(
        "null or a mapping with patience and min_delta", default=None
    )
    optimizer: OptimizerConfig | None = _rule(
        "null (that of train.optimizer) or a mapping with name and learning_rate",
        default=None,
    )
    labels: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_as_tuple)
    ] = _rule("a list of label channels, integers >= 0", default=(0,))
    frames: _Frames | None = _rule(
        f"null (those of sparse_frames) or {_FRAMES_RULE}", default=None
    )
    layers: Literal["all", "decoder", "heads"] = _rule(
        "all, decoder or heads", default="all"
    )
    schedule: Literal["sweep", "all"] = _rule("sweep or all", default="sweep")
    keep: Literal["last", "best"] = _rule("last or best", default="last")
    field: FieldConfig | None = _rule(
        "null or a mapping with scales, steps, sigma_vox, optimizer, loss", default=None
    )

    @property
    def adapts(self) -> bool:
        """Whether any update is taken."""
        return self.has_steps or any(self.field_steps)

    @property
    def has_steps(self) -> bool:
        """Whether any update of the network is taken."""
        return any([self.steps] if isinstance(self.steps, int) else self.steps)

    @property
    def field_steps(self) -> tuple[int, ...]:
        """The updates of the field at each scale; none without `adapt.field`."""
        return () if self.field is None else self.field.all_steps
