"""The runs of a study: one configuration for each, from a plan."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepreg_meta.config import ConfigError, load_config
from deepreg_meta.config.files import Merged, read_files
from deepreg_meta.config.findings import suggest
from deepreg_meta.study.plan import (
    DataConfig,
    PlanConfig,
    SweepConfig,
    ancestors,
    read_plan,
)

MAIN = "main"  # the part of a study that is no sweep


@dataclass(frozen=True)
class Run:
    """
    One training with its tests.

    :param method: name in the plan.
    :param data: name of the training data.
    :param seed: of weights and draws.
    :param files: YAML files of the configuration, merged left to right.
    :param overrides: merged after them.
    :param tests: folder of each test set, by name.
    :param test_config: merged in for the tests.
    :param sweep: name of the sweep, "" for the main part of the study.
    :param setting: what the sweep set, such as "weight=0.04"; "" without one.
    :param adaptations: sections `adapt` of the tests by name; every test is run once
        for each. One of no name and no keys adapts as the configuration says.
    :param adaptations_of: for a test set that does not have all of them, their names.
    :param start: name of the run whose last weights it starts from, "" for none.
    :param depth: how many runs have to end before it, one after the other.
    :param checkpoints: epochs after which it is tested; none is the last one alone.
    """

    method: str
    data: str
    seed: int
    files: tuple[str, ...]
    overrides: dict[str, Any] = field(hash=False)
    tests: dict[str, str] = field(hash=False)
    test_config: dict[str, Any] = field(hash=False)
    sweep: str = ""
    setting: str = ""
    adaptations: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"": {}}, hash=False
    )
    adaptations_of: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    start: str = ""
    depth: int = 0
    checkpoints: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        parts = [self.data, self.method]
        parts += [self.sweep, self.setting] if self.sweep else []
        words = [re.sub(r"[^\w.=-]+", "_", part) for part in parts]
        return "--".join([*words, f"seed{self.seed}"])

    @property
    def adapted_tests(self) -> list[tuple[str, str]]:
        """Every test set with every adaptation that it has."""
        return [
            (test, adaptation)
            for test in self.tests
            for adaptation in self.adaptations_of.get(test, self.adaptations)
        ]


def plan_runs(
    paths: Sequence[str | Path],
    data_dir: str | Path,
    methods: Collection[str] | None = None,
    data: Collection[str] | None = None,
    parts: Collection[str] | None = None,
) -> list[Run]:
    """
    List the runs of a plan: the main part, seed by seed, then the sweeps.

    Every configuration is loaded once, so that a wrong key is told before any training.

    :param paths: as of `read_plan`.
    :param data_dir: folder that those of the data are relative to.
    :param methods: those to run, None for all of the plan. What they start from is run
        too.
    :param data: those to run on, None for all of the plan.
    :param parts: names of sweeps, and `main` for what is none; None for all.
    :return: at least one run, no two of one name.
    :raises ConfigError: for a plan or a configuration that cannot be used.
    """
    plan = read_plan(paths)
    check_chosen(plan, methods, data, parts)
    files = tuple(str(Path(paths[0]).parent / name) for name in plan.base)
    runs = list(_main_runs(plan, files, Path(data_dir)))
    runs += _sweep_runs(plan, files, Path(data_dir))
    wanted = {
        run.name
        for run in runs
        if (methods is None or run.method in methods)
        and (data is None or run.data in data)
        and (parts is None or (run.sweep or MAIN) in parts)
    }
    for run in sorted(runs, key=lambda run: -run.depth):  # later ones name earlier ones
        if run.name in wanted and run.start:
            wanted.add(run.start)
    chosen = [run for run in runs if run.name in wanted]
    _check_runs(chosen)
    return chosen


def check_chosen(
    plan: PlanConfig,
    methods: Collection[str] | None,
    data: Collection[str] | None,
    parts: Collection[str] | None,
) -> None:
    """
    Check that a plan has what is chosen of it; the parameters are those of `plan_runs`.

    :raises ConfigError: for the first that it does not have.
    """
    for kind, wanted, known in (
        ("methods", methods, plan.methods),
        ("data", data, plan.data),
        ("parts", parts, [MAIN, *plan.sweeps]),
    ):
        unknown = sorted(set(wanted or ()) - set(known))
        if unknown:
            near = suggest(unknown[0], known)
            hint = f" Did you mean `{near}`?" if near else ""
            raise ConfigError(
                [
                    f"{kind}: expected some of {', '.join(known)}, got "
                    f"{unknown[0]!r}.{hint}"
                ]
            )


def _main_runs(plan: PlanConfig, files: tuple[str, ...], root: Path) -> list[Run]:
    entries = {
        name: DataConfig.model_validate(entry) for name, entry in plan.data.items()
    }
    own = {
        name: plan.seeds if entry.seeds is None else entry.seeds
        for name, entry in entries.items()
    }
    seeds = [*plan.seeds, *(seed for some in own.values() for seed in some)]
    # seed by seed: a study that is stopped early has all methods with fewer seeds
    return [
        _run(plan, files, root, method, data, seed)
        for seed in dict.fromkeys(seeds)
        for data, entry in entries.items()
        if seed in own[data]
        for method in entry.methods or plan.methods
    ]


def _sweep_runs(plan: PlanConfig, files: tuple[str, ...], root: Path) -> list[Run]:
    runs = []
    for name, entry in plan.sweeps.items():
        sweep = SweepConfig.model_validate(entry)
        seeds = plan.seeds if sweep.seeds is None else sweep.seeds
        for seed, data, values, method in itertools.product(
            seeds, sweep.data, itertools.product(*sweep.values.values()), sweep.methods
        ):
            point = dict(zip(sweep.values, values, strict=True))
            runs.append(_run(plan, files, root, method, data, seed, name, point))
    return runs


def _run(
    plan: PlanConfig,
    files: tuple[str, ...],
    root: Path,
    method: str,
    data: str,
    seed: int,
    sweep: str = "",
    point: Mapping[str, Any] | None = None,
) -> Run:
    """Merge what the plan says of one run."""
    entry, point = DataConfig.model_validate(plan.data[data]), point or {}
    valid = None if entry.valid is None else str(root / entry.valid)
    merged = Merged({}, {}, ())
    fixed: dict[str, Any] = {"train": {"seed": seed}}
    if method in plan.over_domains:
        fixed["dataset"] = {
            "dir": {"train": None, "valid": None, "test": None},
            "domains": _domains(plan, entry, root),
        }
    else:
        train = str(root / entry.train_of.get(method, entry.train))
        fixed["dataset"] = {"dir": {"train": train, "valid": valid, "test": None}}
    parts = [plan.config, entry.config, plan.methods[method]]
    parts += [plan.sweeps[sweep].get("config", {})] if sweep else []
    for part in [*parts, *(nested(k, v) for k, v in point.items()), fixed]:
        merged.update(deepcopy(part), "")
    checkpoints = plan.checkpoints.get(method, ())
    if checkpoints:
        if sweep:  # which may train for less long
            epochs = _epochs(files, merged)
            checkpoints = tuple(e for e in checkpoints if e <= epochs) or (epochs,)
        merged.update({"train": {"save_period": list(checkpoints)}}, "")
    tests = {
        name: str(root / folder)
        for name, folder in entry.tests.items()
        if sweep or seed in entry.seeds_of.get(name, [seed])
    }
    names: Collection[str] | None = entry.adaptations
    if sweep:
        names = SweepConfig.model_validate(plan.sweeps[sweep]).adaptations
    usual = tuple(plan.adaptations if names is None else names) or ("",)
    own = {} if sweep else entry.adaptations_of
    adaptations_of = {test: own.get(test, usual) for test in tests} if own else {}
    chosen = itertools.chain(usual, *adaptations_of.values())
    adaptations = {name: plan.adaptations.get(name, {}) for name in chosen}
    if sweep and plan.sweeps[sweep].get("split") == "valid":
        tests = {"valid": str(valid)}
    setting = ", ".join(f"{key.rsplit('.')[-1]}={v}" for key, v in point.items())
    run = Run(
        method=method,
        data=data,
        seed=seed,
        files=files,
        overrides=merged.raw,
        tests=tests,
        test_config=entry.test_config,
        sweep=sweep,
        setting=setting,
        adaptations=adaptations,
        adaptations_of=adaptations_of,
        depth=len(ancestors(plan, method)),
        checkpoints=checkpoints,
    )
    if method in plan.starts:  # of the same data, seed and, where it is swept, setting
        first = replace(run, method=plan.starts[method])
        if sweep and first.method not in plan.sweeps[sweep]["methods"]:
            first = replace(first, sweep="", setting="")
        run = replace(run, start=first.name)
    return run


def _epochs(files: tuple[str, ...], merged: Merged) -> int:
    """Return how long a run trains."""
    whole = read_files(files)
    whole.update(deepcopy(merged.raw), "")
    return int(whole.raw["train"]["epochs"])


def _domains(plan: PlanConfig, entry: DataConfig, root: Path) -> dict[str, Any]:
    """Return `dataset.domains`, the folders where they are."""
    names = list(plan.domains) if entry.sources is None else entry.sources
    found = deepcopy({name: plan.domains[name] for name in names})
    for domain in found.values():
        folders = domain.get("dir") or {}
        domain["dir"] = {k: v and str(root / v) for k, v in folders.items()}
    return found


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return the nested mapping of a dotted key: `a.b` gives {a: {b: value}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _check_runs(runs: Sequence[Run]) -> None:
    """Load every configuration; a wrong one is named with its run."""
    problems: list[str] = []
    names: set[str] = set()
    if not runs:
        problems.append("study: expected at least one run, got none.")
    for run in runs:
        if run.name in names:
            problems.append(f"{run.name}: expected runs of different names, got two.")
        if run.start and run.start not in {one.name for one in runs}:
            problems.append(
                f"{run.name}: expected a run to start from, {run.start}, got none of "
                "that name. Add its method to those of the data, or its seed."
            )
        names.add(run.name)
        place = f"in the plan, {run.name}"
        try:
            epochs = load_config(run.files, run.overrides, place).raw["train"]["epochs"]
        except ConfigError as err:
            problems += err.problems
            continue
        problems += _test_problems(run, place)
        beyond = [one for one in run.checkpoints if one > epochs]
        if beyond:
            problems.append(
                f"checkpoints.{run.method} {place}: expected epochs up to {epochs}, "
                f"where training ends, got {beyond[0]}."
            )
    if problems:
        raise ConfigError(problems)


def _test_problems(run: Run, place: str) -> list[str]:
    """Load what the tests of a run set beside its configuration."""
    problems: list[str] = []
    for name, adapt in run.adaptations.items():
        merged = Merged({}, {}, ())
        parts = [run.overrides, run.test_config, {"adapt": adapt} if adapt else {}]
        for part in parts:
            merged.update(deepcopy(part), "")
        try:
            load_config(run.files, merged.raw, f"{place}, {name or 'tested'}")
        except ConfigError as err:
            problems += err.problems
    return list(dict.fromkeys(problems))
