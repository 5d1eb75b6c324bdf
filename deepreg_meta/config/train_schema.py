"""
The section `train` of a run with method reptile as frozen models: one field per YAML
key, its rule in words beside its type, its default. So are the other sections in
`*_schema.py`; what reads files and what compares sections with each other is in
`load.py` and `rules.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deepreg_meta.config.loss_schema import LossConfig
from deepreg_meta.config.optimizer_schema import OptimizerConfig
from deepreg_meta.config.scales import (
    SCALES_RULE,
    TrainScales,
)
from deepreg_meta.config.section import DeepRegSection, RuleError, Section
from deepreg_meta.config.section import as_tuple as _as_tuple
from deepreg_meta.config.section import rule as _rule


class MetaConfig(Section):
    """`train.meta`: Reptile, the outer loop and its inner steps."""

    base: str = _rule(
        "the name of a registered DeepReg model (ddf, dvf, ...)", default="ddf",
        min_length=1,
    )  # fmt: skip
    inner_steps: int = _rule(
        "an integer >= 1", default=10, ge=1,
        fix="Use `train.method: ddf` to train without meta-learning.",
    )  # fmt: skip
    task: Literal["pair", "domain"] = _rule("pair or domain", default="pair")
    resample_each_step: bool | None = _rule(
        "null (true for task: domain), true or false", default=None
    )
    tasks_per_step: int = _rule("an integer >= 1", default=1, ge=1)
    meta_step_size: float = _rule("a number in (0, 1]", default=0.5, gt=0, le=1)
    meta_step_size_end: float = _rule(
        "a number in [0, meta_step_size]", default=1.0e-5, ge=0, le=1
    )
    iterate: Literal["last", "average"] = _rule("last or average", default="last")
    inner_optimizer_state: Literal["reset", "carry"] = _rule(
        "reset or carry", default="reset"
    )
    episodes_per_epoch: int | None = _rule(
        "null (every training case once) or an integer >= 1", default=None, ge=1
    )
    update: Literal["reptile", "fomaml"] = _rule("reptile or fomaml", default="reptile")
    outer_optimizer: OptimizerConfig | None = _rule(
        "null (part of the way) or a mapping with name and learning_rate", default=None
    )

    @model_validator(mode="after")
    def _check(self) -> "MetaConfig":
        if self.task == "pair" and self.resample_each_step is not None:
            raise RuleError(
                "resample_each_step: null with task: pair, whose inner steps share one "
                "pair"
            )
        if self.update == "fomaml" and self.outer_optimizer is None:
            raise RuleError(
                "an outer_optimizer with update: fomaml, whose gradient needs one"
            )
        if self.update == "fomaml" and self.iterate == "average":
            raise RuleError("iterate: last with update: fomaml")
        return self

    @property
    def resamples(self) -> bool:
        """Whether every inner step draws pairs of its own."""
        return self.task == "domain" and self.resample_each_step is not False


def _check_epochs(epochs: Any) -> Any:
    if isinstance(epochs, tuple) and (
        not epochs or list(epochs) != sorted(set(epochs))
    ):
        raise ValueError("no rising order, or none at all")
    return epochs


class BackboneConfig(DeepRegSection):
    """`train.backbone`: the name; the rest belongs to the backbone."""

    name: str = _rule("the name of a registered backbone", min_length=1)
    num_channel_initial: int | None = _rule("an integer >= 1", default=None, ge=1)


class PreprocessConfig(DeepRegSection):
    """`train.preprocess`; without `data_augmentation` nothing is augmented."""

    batch_size: int = _rule("an integer >= 1", default=1, ge=1)
    shuffle_buffer_num_batch: int = _rule("an integer >= 0", default=1, ge=0)
    data_augmentation: dict[str, Any] | list[dict[str, Any]] | None = _rule(
        "null, a mapping with name, or a list of such mappings", default=None
    )


class TrainConfig(DeepRegSection):
    """`train` of a run with method reptile."""

    method: str = _rule("the name of a method (reptile, ddf, dvf, ...)", min_length=1)
    seed: int = _rule("an integer >= 0", default=0, ge=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = _rule(
        "float32, mixed_bfloat16 or mixed_float16", default="float32"
    )
    recompute: bool = _rule(
        "true or false (true saves memory and costs time)", default=False
    )
    scales: TrainScales = _rule(SCALES_RULE, default=None)
    meta: MetaConfig = _rule("a mapping", default=MetaConfig())
    backbone: BackboneConfig = _rule("a mapping with name")
    loss: LossConfig = _rule("a mapping with image, label, regularization")
    optimizer: OptimizerConfig = _rule("a mapping with name and learning_rate")
    preprocess: PreprocessConfig = _rule("a mapping", default=PreprocessConfig())
    epochs: int = _rule("an integer >= 0; 0 saves the weights as they are drawn", ge=0)
    save_period: Annotated[
        Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...],
        BeforeValidator(_as_tuple),
        AfterValidator(_check_epochs),
    ] = _rule(
        "an integer >= 1, in epochs, or a list of epochs in rising order", default=1
    )

    def saves_after(self, epoch: int) -> bool:
        """
        Return whether weights are saved and validated after an epoch.

        :param epoch: its number, from 1; 0 is before training.
        """
        period = self.save_period
        if isinstance(period, tuple):
            return epoch in period
        return epoch > 0 and epoch % min(period, max(self.epochs, 1)) == 0
