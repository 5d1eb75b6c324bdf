"""
A study's plan in YAML: methods x data x seeds, read and checked.

    base: [config.yaml]             # files of a run, beside the plan
    config: {train: {epochs: 20}}   # merged after them, into every run
    methods:
      plain: {train: {backbone: {name: voxelmorph2}}}
    data:
      liver:
        train: liver/train          # folders below that of the data
        valid: liver/valid
        tests: {liver: liver/test}
    adaptations:                    # every test, once for each; without them, once
      none: {steps: 0}
      ten: {steps: 10}
    seeds: [0, 1, 2]
    sweeps:
      lambda:
        methods: [plain]
        data: [liver]
        values: {train.loss.regularization.weight: [0.01, 0.1]}

Methods may build on each other, and train over domains:

    domains:                        # folders below that of the data
      chest: {dir: {train: chest/train}}
    over_domains: [pooled]          # in place of the folder `train` of the data
    starts: {tuned: pooled}         # from the weights that the other one ends with
    checkpoints: {tuned: [0, 1, 5]} # tested after these epochs, not at the end alone
    data:
      liver: {train: liver/train, tests: {liver: liver/test}, sources: [chest]}
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from deepreg_meta.config import ConfigError
from deepreg_meta.config.files import read_files
from deepreg_meta.config.findings import Findings, parse_section, suggest
from deepreg_meta.config.section import Section, as_tuple, rule

_Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
_Some = Annotated[_Names, Field(min_length=1)]
_Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)]
_Epochs = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)]
Split = Literal["valid", "test"]


class DataConfig(Section):
    """One entry of `data`: folders below that of the data, and what they need."""

    train: str = rule("a folder, relative to that of the data", min_length=1)
    valid: str | None = rule("a folder or null", default=None)
    tests: dict[str, str] = rule("a mapping of names to folders", min_length=1)
    methods: _Names | None = rule(
        "null (all methods) or a list of names of methods", default=None
    )
    config: dict[str, Any] = rule("a mapping, merged into the training", default={})
    test_config: dict[str, Any] = rule(
        "a mapping, merged into validation and test: labels, for one", default={}
    )
    adaptations: _Names | None = rule(
        "null (all adaptations) or a list of names of adaptations", default=None
    )
    adaptations_of: dict[str, _Some] = rule(
        "a mapping of tests to lists of at least one name of adaptations, theirs in "
        "place of `adaptations`",
        default={},
    )
    sources: _Names | None = rule(
        "null (all domains) or a list of names of domains", default=None
    )
    train_of: dict[str, str] = rule(
        "a mapping of methods to folders that they train on in place of `train`",
        default={},
    )
    seeds: _Seeds | None = rule("null (those of the plan) or a list", default=None)
    seeds_of: dict[str, _Seeds] = rule(
        "a mapping of tests to lists of seeds, for those that other seeds do not have",
        default={},
    )


# How the pairs of a test are adapted to, by name; without any, as configured.
Adaptations = dict[str, dict[str, Any]]


class SweepConfig(Section):
    """One entry of `sweeps`: some methods again, with other values of some keys."""

    methods: _Names = rule("a list of names of methods", min_length=1)
    data: _Names = rule("a list of names of data", min_length=1)
    values: dict[str, list[Any]] = rule(
        "a mapping of dotted keys to lists of values; all combinations are run",
        min_length=1,
    )
    adaptations: _Names = rule("a list of names of adaptations", default=())
    split: Split = rule(
        "test, or valid where the best value is to be chosen", default="test"
    )
    seeds: _Seeds | None = rule("null (those of the plan) or a list", default=None)
    config: dict[str, Any] = rule("a mapping, merged into its runs", default={})


class PlanConfig(Section):
    """A whole plan; the entries of `data` and `sweeps` are read one by one."""

    base: _Names = rule("a list of YAML files beside the plan", min_length=1)
    config: dict[str, Any] = rule("a mapping, merged into every run", default={})
    methods: dict[str, dict[str, Any]] = rule(
        "a mapping of names to mappings, merged into their runs", min_length=1
    )
    data: dict[str, dict[str, Any]] = rule("a mapping of names to data", min_length=1)
    adaptations: Adaptations = rule(
        "a mapping of names to mappings, merged into `adapt` of the tests", default={}
    )
    seeds: _Seeds = rule("a list of integers >= 0", min_length=1)
    sweeps: dict[str, dict[str, Any]] = rule("a mapping of names", default={})
    domains: dict[str, dict[str, Any]] = rule(
        "a mapping of names to keys of dataset.domains, folders relative to the data",
        default={},
    )
    over_domains: _Names = rule("a list of names of methods", default=())
    starts: dict[str, str] = rule(
        "a mapping of methods to the methods whose weights they start from", default={}
    )
    checkpoints: dict[str, _Epochs] = rule(
        "a mapping of methods to lists of epochs after which they are tested",
        default={},
    )


def image_side(paths: Sequence[str | Path]) -> int:
    """
    Return the side of the square images of a plan, in pixels.

    :param paths: as of `read_plan`.
    :raises ConfigError: as `read_plan` does.
    """
    return int(read_plan(paths).config["dataset"]["fixed_image_shape"][0])


def read_plan(paths: Sequence[str | Path]) -> PlanConfig:
    """
    Read and check a plan.

    :param paths: YAML files, merged left to right; the files of `base` lie beside the
        first one.
    :return: the plan.
    :raises ConfigError: with all problems, a line for each.
    """
    merged = read_files(paths)
    if merged.problems:
        raise ConfigError(merged.problems)
    findings = Findings(merged.origins, f"in {', '.join(merged.names)}")
    plan = parse_section(PlanConfig, merged.raw, (), findings)
    if plan is not None:
        data = {
            name: parse_section(DataConfig, entry, ("data", name), findings)
            for name, entry in plan.data.items()
        }
        for name, one in data.items():
            words = () if one is None else one.methods or ()
            _check_names(("data", name, "methods"), words, plan.methods, findings)
            words = () if one is None else one.adaptations or ()
            key = "data", name, "adaptations"
            _check_names(key, words, plan.adaptations, findings)
            if one is not None:
                _check_tests(name, one, plan, findings)
            words = () if one is None else one.sources or ()
            _check_names(("data", name, "sources"), words, plan.domains, findings)
            words = () if one is None else tuple(one.train_of)
            _check_names(("data", name, "train_of"), words, plan.methods, findings)
        _check_starts(plan, findings)
        for name, entry in plan.sweeps.items():
            sweep = parse_section(SweepConfig, entry, ("sweeps", name), findings)
            if sweep is not None:
                _check_sweep(name, sweep, plan, data, findings)
    if plan is None or findings.errors:
        raise ConfigError(findings.errors)
    return plan


def _check_tests(
    name: str, entry: DataConfig, plan: PlanConfig, findings: Findings
) -> None:
    """Check what some of the tests have of their own."""
    for kind, of in (("adaptations", entry.adaptations_of), ("seeds", entry.seeds_of)):
        _check_names(
            ("data", name, f"{kind}_of"), of, entry.tests, findings, "tests of the data"
        )
    for words in entry.adaptations_of.values():
        _check_names(
            ("data", name, "adaptations_of"),
            words,
            plan.adaptations,
            findings,
            "adaptations of the plan",
        )
    seeds = plan.seeds if entry.seeds is None else entry.seeds
    for seed in seeds:
        if all(seed not in entry.seeds_of.get(test, seeds) for test in entry.tests):
            findings.error(
                ("data", name, "seeds_of"),
                f"expected at least one test for every seed, got none for {seed}.",
            )


def _check_starts(plan: PlanConfig, findings: Findings) -> None:
    """Check what methods build on."""
    key: tuple[str, ...]
    for key, words in (
        (("over_domains",), plan.over_domains),
        (("checkpoints",), tuple(plan.checkpoints)),
        (("starts",), (*plan.starts, *plan.starts.values())),
    ):
        _check_names(key, words, plan.methods, findings)
    if plan.over_domains and not plan.domains:
        findings.error(("domains",), "expected domains for over_domains, got none.")
    for method in plan.starts:
        if method in ancestors(plan, method):
            findings.error(
                ("starts", method),
                f"expected no method that starts from itself, got {method!r}.",
            )


def ancestors(plan: PlanConfig, method: str) -> list[str]:
    """
    Return the methods that have to end before one can start.

    :param plan: with `starts`.
    :param method: name of the one.
    :return: the nearest first; where they form a circle, each of them once.
    """
    found: list[str] = []
    while method in plan.starts and plan.starts[method] not in found:
        method = plan.starts[method]
        found.append(method)
    return found


def _check_names(
    key: tuple[str, ...],
    words: Iterable[str],
    known: Collection[str],
    findings: Findings,
    kind: str = "",
) -> None:
    """Check that a list names what there is: by default what the key says."""
    for word in words:
        if word not in known:
            near = suggest(word, known)
            help_text = f" Did you mean `{near}`?" if near else ""
            findings.error(
                key,
                f"expected names in {kind or f'{key[-1]} of the plan'}, got {word!r}."
                f"{help_text}",
            )


def _check_sweep(
    name: str,
    sweep: SweepConfig,
    plan: PlanConfig,
    data: Mapping[str, DataConfig | None],
    findings: Findings,
) -> None:
    """Check what a sweep names against the rest of the plan."""
    _check_names(("sweeps", name, "methods"), sweep.methods, plan.methods, findings)
    _check_names(("sweeps", name, "data"), sweep.data, plan.data, findings)
    own = "sweeps", name, "adaptations"
    _check_names(own, sweep.adaptations, plan.adaptations, findings)
    for key, values in sweep.values.items():
        if not values:
            findings.error(
                ("sweeps", name, "values", key), "expected a list of values, got []."
            )
    for word in sweep.data if sweep.split == "valid" else ():
        entry = data.get(word)
        if entry is not None and entry.valid is None:
            findings.error(
                ("sweeps", name, "split"),
                f"expected data with a folder `valid`, got {word!r}, which has none.",
            )
