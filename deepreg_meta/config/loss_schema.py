"""The section `train.loss`, and what adaptation may change of it."""

from typing import Annotated, Any

from pydantic import AfterValidator

from deepreg_meta.config.section import DeepRegSection
from deepreg_meta.config.section import rule as _rule


class LossTermConfig(DeepRegSection):
    """One of `train.loss`: name and weight; the rest belongs to the loss."""

    name: str = _rule("the name of a registered loss", min_length=1)
    weight: float = _rule("a number >= 0", default=1.0, ge=0)


class LossConfig(DeepRegSection):
    """`train.loss`: a term that is absent is not used."""

    image: LossTermConfig | None = _rule("a mapping with name, weight", default=None)
    label: LossTermConfig | None = _rule("a mapping with name, weight", default=None)
    regularization: LossTermConfig | None = _rule(
        "a mapping with name, weight", default=None
    )


def _check_loss_change(change: Any) -> Any:
    """Refuse terms that no loss has, which nobody would read, and odd weights."""
    for name, term in (change or {}).items():
        if name not in LossConfig.model_fields or not isinstance(term, dict | None):
            raise ValueError("another term of the loss, or no mapping")
        weight = (term or {}).get("weight", 1.0)
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < float("inf"):
            raise ValueError("another weight")
    return change


LossChange = Annotated[dict[str, Any] | None, AfterValidator(_check_loss_change)]
LOSS_CHANGE_RULE = (
    "null (train.loss) or a mapping of image, label, regularization that is merged "
    "into it, each a mapping, its weight a number >= 0"
)
