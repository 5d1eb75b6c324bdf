"""
What the sections of a configuration share: strict types, and a rule in words for each
field.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


def rule(text: str, fix: str = "", choices: tuple[str, ...] = (), **kwargs: Any) -> Any:
    """
    Describe a field: `text` completes the sentence "expected ..., got <value>.".

    :param text: the rule in words.
    :param fix: what to do instead, where the rule alone does not tell.
    :param choices: the words allowed, where the type does not list them.
    :param kwargs: default and bounds, handed to pydantic.
    :return: pydantic's field description.
    """
    extra: dict[str, Any] = {"fix": fix, "choices": choices}
    return Field(description=text, json_schema_extra=extra, **kwargs)


def as_tuple(value: Any) -> Any:
    """Give YAML's lists the type that the sections hold."""
    return tuple(value) if isinstance(value, list) else value


class RuleError(ValueError):
    """A broken rule between the keys of a section; its text stands for the field's."""


PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A section that only this package reads: an unknown key in it is an error."""

    # strict: neither "3" nor true is the integer 3
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


class DeepRegSection(Section):
    """A section with keys of DeepReg, whose unknown keys `rules.py` judges."""

    model_config = ConfigDict(extra="allow")
