"""Tests of the runs of a study: which they are, and what they are configured by."""

import pytest

from deepreg_meta.config import ConfigError
from deepreg_meta.study.schedule import nested, plan_runs


def test_a_plan_is_all_methods_on_all_data_for_all_seeds_and_then_the_sweeps(
    write, plan_text
):
    runs = plan_runs(write(plan_text), "/d")
    main = [(run.data, run.method, run.seed) for run in runs if not run.sweep]
    per_seed = [("liver", "plain"), ("liver", "wide"), ("chest", "wide")]
    assert main == [(*pair, seed) for seed in (0, 4) for pair in per_seed]
    swept = [run for run in runs if run.sweep]
    assert [run.setting for run in swept] == [
        "weight=0.5, l1=False", "weight=0.5, l1=True", "weight=2, l1=False",
        "weight=2, l1=True",
    ]  # fmt: skip
    assert {(run.method, run.seed) for run in swept} == {("plain", 7)}
    assert len({run.name for run in runs}) == len(runs) == 10


def test_what_is_nearer_to_the_run_wins(write, plan_text):
    runs = {run.name: run for run in plan_runs(write(plan_text), "/d")}
    train = runs["chest--wide--seed4"].overrides["train"]
    assert train == {"epochs": 5, "backbone": {"num_channel_initial": 32}, "seed": 4}
    assert runs["liver--plain--seed0"].overrides["train"]["epochs"] == 3
    dataset = runs["chest--wide--seed4"].overrides["dataset"]
    assert dataset["format"] == "png"
    assert dataset["dir"] == {"train": "/d/chest/train", "valid": None, "test": None}
    assert runs["liver--plain--seed0"].tests == {"a": "/d/liver/a", "b": "/d/liver/b"}


def test_a_sweep_on_valid_never_looks_at_the_tests(write, plan_text):
    swept = [run for run in plan_runs(write(plan_text), "/d") if run.sweep]
    assert [run.tests for run in swept] == [{"valid": "/d/liver/valid"}] * 4
    loss = swept[3].overrides["train"]["loss"]["regularization"]
    assert loss == {"weight": 2, "l1": True}
    assert {run.overrides["train"]["epochs"] for run in swept} == {1}


def test_a_later_file_changes_what_it_names(write, plan_text):
    files = write(plan_text, "seeds: [9]\nconfig: {train: {epochs: 1}}")
    runs = [run for run in plan_runs(files, "/d") if not run.sweep]
    assert [run.seed for run in runs] == [9, 9, 9]
    assert runs[0].overrides["train"]["epochs"] == 1


def test_data_may_have_seeds_of_their_own(write, plan_text):
    files = write(plan_text, "data: {chest: {seeds: [4, 5]}}")
    runs = [run for run in plan_runs(files, "/d") if not run.sweep]
    assert [(run.data, run.seed) for run in runs if run.method == "wide"] == [
        ("liver", 0), ("liver", 4), ("chest", 4), ("chest", 5)
    ]  # fmt: skip


def test_only_some_parts_are_run_on_demand(write, plan_text):
    files = write(plan_text)
    assert {run.sweep for run in plan_runs(files, "/d", parts=["main"])} == {""}
    assert len(plan_runs(files, "/d", parts=["lambda"])) == 4
    assert len(plan_runs(files, "/d", parts=["lambda", "main"])) == 10
    with pytest.raises(ConfigError, match="some of main, lambda, got 'rho'"):
        plan_runs(files, "/d", parts=["rho"])


def test_only_some_methods_and_data_are_run_on_demand(write, plan_text):
    runs = plan_runs(write(plan_text), "/d", methods=["wide"], data=["liver"])
    assert [run.name for run in runs] == ["liver--wide--seed0", "liver--wide--seed4"]


def test_two_runs_never_share_a_folder(write, plan_text):
    extra = "methods: {a b: {}, a+b: {}}\ndata: {liver: {methods: [a b, a+b]}}"
    with pytest.raises(ConfigError, match="runs of different names"):
        plan_runs(write(plan_text, extra), "/d")


def test_an_unknown_method_is_told(write, plan_text):
    with pytest.raises(ConfigError, match="methods: expected some of plain, wide, got"):
        plan_runs(write(plan_text), "/d", methods=["plane"])


def test_a_dotted_key_becomes_a_nested_mapping():
    assert nested("a.b.c", 3) == {"a": {"b": {"c": 3}}}


ADAPTED = """
adaptations:
  none: {steps: 0}
  ten: {steps: 10}
"""


def test_adaptations_are_those_of_the_plan_or_of_its_data(write, plan_text):
    files = write(plan_text, ADAPTED + "data: {chest: {adaptations: [ten]}}")
    for run in plan_runs(files, "/d"):
        if run.sweep:
            assert run.adaptations == {"": {}}
        elif run.data == "chest":
            assert run.adaptations == {"ten": {"steps": 10}}
        else:
            assert list(run.adaptations) == ["none", "ten"]


def test_a_test_set_has_the_adaptations_of_its_own(write, plan_text):
    own = ADAPTED + "data: {liver: {adaptations: [none], adaptations_of: {b: [ten]}}}"
    for run in plan_runs(write(plan_text, own), "/d"):
        if run.sweep:
            assert set(run.adapted_tests) == {(test, "") for test in run.tests}
        elif run.data == "liver":
            assert run.adapted_tests == [("a", "none"), ("b", "ten")]
            assert run.adaptations == {"none": {"steps": 0}, "ten": {"steps": 10}}
        else:
            (test,) = run.tests
            assert run.adapted_tests == [(test, "none"), (test, "ten")]


def test_a_test_set_may_be_for_some_seeds_alone(write, plan_text):
    own = "data: {liver: {seeds_of: {b: [4]}}}"
    found = {
        (run.data, run.method, run.seed): set(run.tests)
        for run in plan_runs(write(plan_text, own), "/d")
        if not run.sweep
    }
    assert found["liver", "plain", 0] == found["liver", "wide", 0] == {"a"}
    assert found["liver", "plain", 4] == {"a", "b"}


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("{c: [ten]}", "adaptations_of.*names in tests of the data, got 'c'"),
        ("{b: [tem]}", "adaptations_of.*'tem'.*Did you mean `ten`"),
        ("{b: [ten]}, seeds_of: {a: [4], b: [4]}", "at least one test.*none for 0"),
        ("{b: [ten]}, seeds_of: {c: [4]}", "seeds_of.*names in tests of the data"),
        ("{b: []}", "adaptations_of.*at least one.*'b'"),
    ],
)
def test_adaptations_of_a_test_set_that_cannot_be_are_told(
    write, plan_text, own, words
):
    extra = ADAPTED + f"data: {{liver: {{adaptations_of: {own}}}}}"
    with pytest.raises(ConfigError, match=words):
        plan_runs(write(plan_text, extra), "/d")


def test_an_adaptation_that_cannot_be_is_told_before_any_training(write, plan_text):
    wrong = ADAPTED.replace("10", "-1")
    with pytest.raises(ConfigError, match=r"adapt\.steps.*liver--plain--seed0, ten"):
        plan_runs(write(plan_text, wrong), "/d")
    unknown = ADAPTED + "data: {chest: {adaptations: [tem]}}"
    with pytest.raises(ConfigError, match="Did you mean `ten`"):
        plan_runs(write(plan_text, unknown), "/d")
    swept = ADAPTED + "sweeps: {lambda: {adaptations: [tem]}}"
    with pytest.raises(ConfigError, match="Did you mean `ten`"):
        plan_runs(write(plan_text, swept), "/d")


def test_what_only_the_tests_set_is_checked_before_any_training(write, plan_text):
    wrong = "data: {liver: {test_config: {dataset: {labelled: true}}}}"
    with pytest.raises(ConfigError, match="liver--plain--seed0.*Did you mean `labeled"):
        plan_runs(write(plan_text, wrong), "/d")


CHAIN = """
methods: {pooled: {}, tuned: {train: {epochs: 7}}, again: {}}
domains:
  bone: {dir: {train: bone/train, valid: null}, weight: 2.0}
  skin: {dir: {train: skin/train}}
over_domains: [pooled]
starts: {tuned: pooled, again: tuned}
checkpoints: {tuned: [0, 2, 7]}
data:
  liver: {methods: [pooled, tuned, again], sources: [bone], train_of: {again: all}}
  chest: {methods: [plain]}
"""


def test_methods_start_from_others_of_the_same_data_and_seed(write, plan_text):
    runs = {r.name: r for r in plan_runs(write(plan_text, CHAIN), "/d", parts=["main"])}
    tuned = runs["liver--tuned--seed4"]
    assert (tuned.start, tuned.depth) == ("liver--pooled--seed4", 1)
    assert tuned.checkpoints == (0, 2, 7)
    assert tuned.overrides["train"]["save_period"] == [0, 2, 7]
    again = runs["liver--again--seed0"]
    assert (again.start, again.depth) == ("liver--tuned--seed0", 2)
    assert again.overrides["dataset"]["dir"]["train"] == "/d/all"
    pooled = runs["liver--pooled--seed0"]
    assert (pooled.start, pooled.depth, pooled.checkpoints) == ("", 0, ())
    assert pooled.overrides["dataset"]["dir"]["train"] is None
    assert pooled.overrides["dataset"]["domains"] == {
        "bone": {"dir": {"train": "/d/bone/train", "valid": None}, "weight": 2.0}
    }


def test_what_a_run_starts_from_is_run_with_it(write, plan_text):
    runs = plan_runs(write(plan_text, CHAIN), "/d", methods=["again"], parts=["main"])
    assert {run.method for run in runs} == {"pooled", "tuned", "again"}
    sweep = "sweeps: {lambda: {methods: [tuned], data: [liver], seeds: [4]}}"
    files = write(plan_text, CHAIN, sweep)
    runs = plan_runs(files, "/d", parts=["lambda"])
    assert [run.name for run in runs if not run.sweep] == ["liver--pooled--seed4"]
    assert {run.start for run in runs if run.sweep} == {"liver--pooled--seed4"}
    sweep = "sweeps: {lambda: {methods: [tuned, pooled], data: [liver]}}"
    runs = plan_runs(write(plan_text, CHAIN, sweep), "/d", parts=["lambda"])
    swept = {run.name: run for run in runs}
    for run in (run for run in runs if run.method == "tuned"):
        assert swept[run.start].setting == run.setting
        # a sweep of one epoch: of the checkpoints 0, 2 and 7 there is the first
        assert run.checkpoints == (0,)
        assert run.overrides["train"]["save_period"] == [0]


def test_without_a_checkpoint_in_reach_a_sweep_tests_its_end(write, plan_text):
    late = """
checkpoints: {tuned: [7]}
sweeps: {lambda: {methods: [tuned], data: [liver], seeds: [4]}}
"""
    runs = plan_runs(write(plan_text, CHAIN, late), "/d", parts=["lambda"])
    assert {run.checkpoints for run in runs if run.sweep} == {(1,)}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("data: {liver: {methods: [tuned]}}", "a run to start from, liver--pooled"),
        ("starts: {pooled: tuned}", "starts.pooled.*starts from itself"),
        ("starts: {tuned: poled}", "starts.*got 'poled'. Did you mean `pooled`"),
        ("over_domains: [pool]", "over_domains.*got 'pool'. Did you mean `pooled`"),
        ("checkpoints: {tune: [1]}", "checkpoints.*Did you mean `tuned`"),
        ("checkpoints: {tuned: [1, 8]}", "checkpoints.tuned .*up to 7, .*ends, got 8"),
        ("data: {liver: {sources: [bones]}}", "sources.*Did you mean `bone`"),
        ("data: {liver: {train_of: {agian: x}}}", "train_of.*Did you mean `again`"),
        ("domains: null", "domains"),
    ],
)
def test_a_chain_that_cannot_be_is_told(write, plan_text, extra, words):
    with pytest.raises(ConfigError, match=words):
        plan_runs(write(plan_text, CHAIN, extra), "/d")
