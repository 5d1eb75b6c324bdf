"""What the classes of DeepReg's registry, and Keras's optimisers, can be built with."""

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from deepreg_meta.config.findings import show, suggest

_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a word",
}
_SHARES = {"beta_1", "beta_2", "rho", "momentum", "ema_momentum"}


class Options(NamedTuple):
    """
    What a class can be built with.

    :param rules: by option, what says whether a value is one of it, and in words what
        is expected.
    :param needed: options without a default.
    :param is_open: it takes anything else as well.
    """

    rules: dict[str, tuple[Callable[[Any], bool], str]]
    needed: set[str]
    is_open: bool = False


class Section(NamedTuple):
    """
    A section of a configuration that names a class and its options.

    :param key: dotted.
    :param data: name and options.
    :param own: keys that are no options.
    :param locate: tells who set a key.
    """

    key: str
    data: Mapping[str, Any]
    own: Collection[str]
    locate: Callable[[str], str]


def class_options(kind: type) -> Options:
    """
    Read the signatures of a class, and of those that it hands its `**kwargs` to.

    Keras's own options, at the end of them, are none of a configuration. A class that
    takes others by `**kwargs` names them in `option_names`, and checks them itself.

    :param kind: a backbone or a loss.
    """
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        name: _rule_of(inspect.Parameter.empty)
        for name in getattr(kind, "option_names", ())
    }
    needed: set[str] | None = None
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in ("keras", "tf_keras", "tensorflow"):
            return Options(rules, needed or set())
        if base is object or "__init__" not in vars(base):
            continue
        found = list(inspect.signature(base).parameters.values())
        kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        named = [p for p in found if p.kind in kinds]
        for parameter in named:
            rules.setdefault(parameter.name, _rule_of(parameter.annotation))
        if needed is None:  # what the class itself asks for; it may give its base's
            needed = {p.name for p in named if p.default is p.empty}
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            return Options(rules, needed)
    return Options(rules, needed or set(), is_open=True)


def _rule_of(annotation: Any) -> tuple[Callable[[Any], bool], str]:
    """Return what checks the values of an annotated parameter, and its words."""
    if annotation is inspect.Parameter.empty:
        return (lambda value: True), "a value"
    try:
        adapter = TypeAdapter(annotation)
    except Exception:  # DeepReg has some that are no types, such as (tuple, None)
        return (lambda value: True), "a value"

    def fits(value: Any) -> bool:
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError:
            return isinstance(value, list) and _fits_as_tuple(adapter, value)
        return not (isinstance(value, float) and math.isnan(value))

    return fits, _words_for(annotation)


def _words_for(annotation: Any) -> str:
    """Write a type as a user of YAML would say it."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    text = str(annotation).replace("typing.", "").replace("collections.abc.", "")
    for name, word in (("Mapping", "a mapping"), ("Sequence", "a list")):
        text = text.replace(name, word)
    return text.replace("None", "null").replace(" | ", " or ")


def _fits_as_tuple(adapter: TypeAdapter, value: list) -> bool:
    """Whether a list of YAML would fit if it were a tuple."""
    try:
        adapter.validate_python(tuple(value), strict=True)
    except ValidationError:
        return False
    return True


def optimizer_options(kind: type) -> Options:
    """
    Read what an optimiser of Keras takes; its defaults tell the types.

    :param kind: its class.
    """
    rules = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        default = parameter.default
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if isinstance(default, bool):
            rules[name] = _rule_of(bool)
        elif name in _SHARES:
            rules[name] = _number(0.0, 1.0), "a number in [0, 1)"
        elif default is None:
            rules[name] = _number(math.nextafter(0.0, 1.0)), "a number > 0"
        else:
            rules[name] = _number(0.0), "a number >= 0"
    return Options(rules, set())


def _number(low: float, high: float = math.inf) -> Callable[[Any], bool]:
    """Return what says whether a value is a number in [low, high)."""

    def fits(value: Any) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and low <= value < high

    return fits


def option_problems(section: Section, options: Options) -> Iterator[str]:
    """
    Compare a section with what its class takes.

    :param section: with the name of the class.
    :param options: of the class.
    :return: a line for each unknown, wrong or missing option.
    """
    name = section.data["name"]
    known = sorted(set(options.rules) - set(section.own))
    for option, value in section.data.items():
        here = f"{section.key}.{option}"
        if option in section.own:
            continue
        if option in options.rules:
            fits, words = options.rules[option]
            if not fits(value):
                yield (
                    f"{here} {section.locate(here)}: expected {words}, got "
                    f"{show(value)}."
                )
        elif not options.is_open:
            near = suggest(option, known)
            takes = ", ".join(known) if known else "no options"
            hint = f"Did you mean `{near}`?" if near else f"{name} takes {takes}."
            yield (
                f"{here} {section.locate(here)}: unknown option of {name}. {hint} "
                "null removes what an earlier file has set."
            )
    for option in sorted(options.needed - set(section.own) - set(section.data)):
        where = section.locate(section.key)
        yield f"{section.key}.{option} {where}: missing, {name} needs it."
