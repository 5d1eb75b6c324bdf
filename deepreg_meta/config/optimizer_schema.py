"""The sections that name an optimiser."""

from typing import Annotated

from pydantic import AfterValidator

from deepreg_meta.config.section import DeepRegSection
from deepreg_meta.config.section import rule as _rule

# The optimisers of legacy Keras: listed here, so that a misspelt name is found before
# TensorFlow is imported.
OPTIMIZERS = (
    *("SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam"),
    "AdamW",
)


def _check_optimizer(name: str) -> str:
    if name not in OPTIMIZERS:
        raise ValueError("unknown optimizer")
    return name


class OptimizerConfig(DeepRegSection):
    """`train.optimizer` and `adapt.optimizer`: name, rate, further Keras arguments."""

    name: Annotated[str, AfterValidator(_check_optimizer)] = _rule(
        f"one of {', '.join(OPTIMIZERS)}", choices=OPTIMIZERS
    )
    learning_rate: float = _rule("a number > 0, such as 1.0e-3", gt=0)
