"""Tests of demos/meta_registration/study.py: plans, tables, and a tiny study."""

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.config import load_config
from deepreg_meta.config.files import Merged
from deepreg_meta.study.schedule import plan_runs

# of every method that is trained; `meta` of the full form has the paper's 10
INNER_STEPS = {"meta": 5, "meta_10": 10, "meta_20": 20, "meta_adam": 5,
               "meta_fomaml": 4, "localnet": 1, "voxelmorph": 1}  # fmt: skip
SWEEPS = {"meta_form": {"meta", "meta_10", "meta_20"}, "iterate": {"meta"},
          "outer_step": {"meta_adam", "meta_fomaml"},
          "training_length": {"meta", "localnet"},
          "training_rate": {"meta_10", "localnet", "voxelmorph"}}  # fmt: skip


@pytest.fixture
def study(load_demo):
    """:return: the script."""
    return load_demo("meta_registration", "study")


@pytest.fixture(params=["smoke", "reduced", "full"])
def runs(request, study):
    """:return: the runs of a form."""
    return plan_runs(study.plan_of(request.param), "/data")


def trained_config(run):
    """:return: the configuration of a run's training."""
    return load_config(run.files, run.overrides)


def adapted_config(run, adaptation):
    """:return: the configuration of one of a run's tests."""
    merged = Merged({}, {}, ())
    adapt = {"adapt": run.adaptations[adaptation]}
    for part in (run.overrides, run.test_config, adapt):
        merged.update(part, "")
    return load_config(run.files, merged.raw)


def test_all_trained_methods_take_as_many_gradient_steps(runs):
    steps = {}
    for run in runs:
        config = trained_config(run)
        meta, train = config.meta, config.train
        number = train.epochs * meta.episodes_per_epoch
        number *= meta.inner_steps + (meta.update == "fomaml")
        number *= meta.tasks_per_step * train.preprocess.batch_size
        if run.method in INNER_STEPS:
            length = run.setting if run.sweep == "training_length" else ""
            key = run.data, run.sweep, length
            steps.setdefault(key, []).append((run.method, number))
        else:
            assert number == 0
    for (_, sweep, _), own in steps.items():
        methods = {method for method, _ in own}
        if sweep:
            assert methods == SWEEPS[sweep]
        else:
            assert {"meta", "localnet"} <= methods <= {"meta", "localnet", "voxelmorph"}
        assert len({number for _, number in own}) == 1 and own[0][1] > 0


def test_the_paper_trains_200000_steps(study):
    run = plan_runs(study.plan_of("full"), "/data", ["meta"], ["trus"], ["main"])[0]
    config = trained_config(run)
    assert config.train.epochs * config.meta.episodes_per_epoch == 20_000
    assert config.meta.inner_steps == 10 and config.train.preprocess.batch_size == 4
    assert (config.meta.meta_step_size, config.meta.meta_step_size_end) == (0.5, 1e-5)
    assert config.train.optimizer.learning_rate == 1e-5


def test_meta_learns_on_pairs_and_the_others_on_one_step_each(runs):
    for run in runs:
        config = trained_config(run)
        if run.method in INNER_STEPS:
            steps = INNER_STEPS[run.method]
            full = run.method == "meta" and config.train.preprocess.batch_size == 4
            assert config.meta.inner_steps == (10 if full else steps)
            if run.sweep != "meta_form":
                state = "carry" if steps == 1 else "reset"
                assert config.meta.inner_optimizer_state == state
            assert config.train.backbone.name == (
                "voxelmorph2" if run.method == "voxelmorph" else "local_norm"
            )
        assert config.raw["train"]["backbone"].get("extract_levels") is None or (
            config.train.backbone.name == "local_norm"
        )


def test_all_methods_have_one_loss_and_none_looks_at_a_label(runs):
    for run in runs:
        config = trained_config(run)
        loss, raw = config.train.loss, config.raw["train"]
        assert loss.label is None and not config.dataset.labeled
        assert (loss.image.name, loss.image.weight) == ("ssd", 1.0)
        assert loss.regularization.name == "bending_energy"
        assert loss.regularization.weight == 10.0
        assert config.align.mode == "center"
        assert raw["preprocess"]["data_augmentation"] == {
            "name": "affine",
            "scale": 0.1,
        }
        for adaptation in run.adaptations:
            adapt = adapted_config(run, adaptation).adapt
            assert adapt.labels == ()
            assert adapt.field is None or adapt.field.loss is None


def test_tests_are_pairs_on_the_grid_of_the_training(runs):
    for run in runs:
        training = trained_config(run)
        for adaptation in run.adaptations:
            config = adapted_config(run, adaptation)
            assert config.dataset.type == "paired" and config.dataset.labeled
            assert config.dataset.fixed_shape == training.dataset.fixed_shape
            assert config.dataset.moving_shape == training.dataset.fixed_shape


def test_classical_registration_has_the_rate_of_the_paper_and_no_network(study, runs):
    for run in (run for run in runs if run.method == "direct" and not run.sweep):
        assert trained_config(run).train.backbone.name == "identity"
        for name in run.adaptations:
            adapt = adapted_config(run, name).adapt
            assert adapt.steps == 0
            field = adapt.field
            if name.startswith("sgd"):
                voxels = np.prod(trained_config(run).dataset.fixed_shape)
                assert field.optimizer.name == "SGD" and adapt.plateau is None
                assert field.optimizer.learning_rate == pytest.approx(0.01 * voxels)
                assert (field.scales, field.sigma_vox) == ((1.0,), 0.0)
            else:
                assert field.optimizer.name == "Adam" and adapt.keep == "best"
                assert len(field.scales) > 1 and adapt.plateau is not None
    reduced = plan_runs(study.plan_of("reduced"), "/data", ["direct"])[0]
    assert adapted_config(reduced, "sgd-3000").adapt.field.steps == 3000


def test_the_curve_has_the_numbers_of_updates_of_its_names(study):
    for run in plan_runs(study.plan_of("reduced"), "/data", parts=["main"]):
        if run.method == "direct":
            assert run.seed == 0  # nothing is drawn
            continue
        steps = {
            name: adapted_config(run, name).adapt.steps for name in run.adaptations
        }
        assert list(steps.values()) == [0, 1, 2, 5, 10, 20]
        assert all(
            name.split("-")[0] == (str(number) if number else "none")
            for name, number in steps.items()
        )


def test_choices_look_at_validation_pairs_alone(study):
    runs = plan_runs(study.plan_of("reduced"), "/data")
    for run in runs:
        folders = {folder.split("/")[-1] for folder in run.tests.values()}
        assert folders == ({"valid"} if run.sweep else {"test", "known"})
    assert {run.sweep for run in runs} == {
        "", "training_rate", "meta_form", "iterate", "outer_step", "training_length",
        "random_rate", "direct", "direct_3", "direct_10", "direct_30",
    }  # fmt: skip


def rows_of(study, gains):
    """:return: rows of three pairs and two seeds; each method has a gain in Dice."""
    return pd.DataFrame(
        dict(method=method, adaptation=adaptation, data="trus", test="trus", seed=seed,
             sweep="", setting="", case=f"pair{case}", dice_before=0.3 + case / 10,
             hd95_before=8.0, dice_centroids=0.8, hd95_centroids=3.0,
             dice_gland_before=0.25, dice_gland_centroids=0.75, dice_gland=0.9,
             dice=0.3 + case / 10 + gain + seed / 50 + case * gain / 10,
             hd95=8.0 - 10 * gain - case * gain, positive=99.0, updates=2,
             cpu_seconds=10 * gain, loss=0.1 - gain / 10 - case * gain / 100)
        for (method, adaptation), gain in gains.items()
        for case in range(3)
        for seed in range(2)
    )  # fmt: skip


def test_table_1_is_in_the_papers_order_with_what_is_there_without_it(study):
    gains = {study.OURS: 0.2, ("meta", "2-updates"): 0.1, study.PAPER: 0.1}
    table = study.table_1(rows_of(study, gains))
    assert table["method"].tolist() == [
        "none", "gland centroids (uses labels)", "direct, sgd-3000", "meta, 5-updates"
    ]  # fmt: skip
    assert table["Dice (%)"].tolist() == [
        "40.00 ± 10.00", "80.00 ± 0.00", "52.00 ± 11.00", "63.00 ± 12.00"
    ]  # fmt: skip
    assert table["HD95"].tolist() == [
        "8.00 ± 0.00", "3.00 ± 0.00", "6.90 ± 0.10", "5.80 ± 0.20"
    ]  # fmt: skip
    assert table["gland"].tolist() == [
        "25.00 ± 0.00", "75.00 ± 0.00", "90.00 ± 0.00", "90.00 ± 0.00"
    ]  # fmt: skip
    assert table["seeds"].tolist() == ["1", "1", "2", "2"]


def test_ours_is_held_against_every_other_pair_by_pair(study):
    gains = {study.OURS: 0.2, ("meta", "none"): 0.1, study.PAPER: 0.3}
    table = study.test_table(rows_of(study, gains))
    assert table["of"].tolist() == ["Dice"] * 2 + ["HD95"] * 2 + ["loss"] * 2
    assert table["other"].tolist() == ["direct, sgd-3000", "meta, none"] * 3
    assert (table["n"] == 3).all()  # pairs, not pairs and seeds
    # the means of gain and gain times case / 10
    assert table["mean_difference"].tolist() == pytest.approx(
        [-0.11, 0.11, 1.1, -1.1, 0.011, -0.011]
    )
    # two tests of each quantity: the lesser p is doubled
    p = table["p_paired"][:2].to_numpy()
    assert table["p_holm"][:2].min() == pytest.approx(2 * p.min())


def test_networks_adapted_equally_long_are_held_against_each_other(study):
    """Over the trainings that both have, corrected over the numbers of updates."""
    updates = ("none", "5-updates")
    gains = {("meta", each): 0.2 for each in updates}
    gains |= {("localnet", each): 0.1 for each in updates} | {study.PAPER: 0.4}
    rows = rows_of(study, gains)
    one = rows[(rows["method"] == "meta") | (rows["seed"] == 0)]
    table = study.equal_table(one)
    assert table["of"].tolist() == ["Dice"] * 2 + ["HD95"] * 2 + ["loss"] * 2
    assert table["other"].tolist() == ["localnet, none", "localnet, 5-updates"] * 3
    # the second seed of ours, which is better by 0.02, does not count
    assert table["mean_difference"][:2].tolist() == pytest.approx([0.11, 0.11])
    assert table["p_holm"][:2].tolist() == pytest.approx(2 * table["p_paired"][:2])
    assert study.equal_table(rows[rows["method"] != "localnet"]).empty


def test_no_tests_without_ours(study):
    assert study.test_table(rows_of(study, {study.PAPER: 0.1})).empty


TINY = """
config: {train: {epochs: 1}}
methods:
  meta:
    train:
      meta: {episodes_per_epoch: 1, inner_steps: 2}
      backbone: {extract_levels: [0]}
data:
  trus: {methods: [meta], adaptations: [5-updates]}
  trus_direct: {adaptations: [adam-100]}
adaptations: {adam-100: {field: {scales: [1/2, 1], steps: 2}}}
"""


@pytest.mark.slow
def test_a_tiny_study_ends_with_its_report(
    study, tmp_path, monkeypatch, registered, untraced
):
    plan = tmp_path / "tiny.yml"
    plan.write_text(TINY)
    files = [*study.plan_of("smoke"), plan]
    monkeypatch.setattr(study, "plan_of", lambda form: files)
    packed = str(tmp_path / "runs.zip")
    folders = ["--output", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data")]
    assert study.main([*folders, "--jobs", "1", "--pack", packed]) == 0
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert set(zip(rows["method"], rows["test"], strict=True)) == {
        (method, test)
        for method in ("meta", "direct")
        for test in ("trus", "trus_known")
    }  # fmt: skip
    measured = ["dice", "hd95", "dice_gland", "positive", "cpu_seconds", "loss"]
    assert rows[measured].notna().all(axis=None)
    known = rows[rows["test"] == "trus_known"]
    # three components with a root mean square of 3 voxels
    assert known["epe_before"].mean() == pytest.approx(3 * 3**0.5, rel=0.2)
    adapted = rows[rows["method"] == "meta"]
    assert (adapted["updates"] == 5).all()
    report = (tmp_path / "out" / "report.md").read_text()
    for text in ("Table 1: trus", "CPU seconds to the same Dice", "Fig. 2", "Fig. 3",
                 "example_trus_meta_5-updates.png"):  # fmt: skip
        assert text in report
    there = ["--output", str(tmp_path / "there"), "--report", "--unpack", packed]
    assert study.main(there) == 0  # neither data nor weights are needed
    assert "Table 1: trus" in (tmp_path / "there" / "report.md").read_text()


def test_a_report_of_no_runs_is_refused(study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        study.main(["--output", str(tmp_path), "--report"])
    assert "expected finished runs" in capsys.readouterr().err


def test_each_optimiser_of_the_classical_form_has_a_curve_of_its_own(study, tmp_path):
    """Adam's reaches 0.62 after 3 s, between its own points alone."""
    points = {
        ("direct", "sgd-3000"): (2.0, 0.5), ("direct", "sgd-9000"): (5.0, 0.55),
        ("direct", "adam-10"): (1.0, 0.5), ("direct", "adam-100"): (4.0, 0.68),
        ("meta", "5-updates"): (0.5, 0.62),
    }  # fmt: skip
    rows = pd.DataFrame(
        dict(method=method, adaptation=adaptation, case=f"c{n}", seed=0, test="t",
             dice=dice, cpu_seconds=seconds, sweep="", setting="")
        for (method, adaptation), (seconds, dice) in points.items() for n in range(2)
    )  # fmt: skip
    table = study.reach_of(rows).set_index("method")
    assert list(table.index) == ["direct (sgd)", "direct (adam)", "meta"]
    column = table["to meta, 5-updates"]
    assert column["direct (adam)"] == pytest.approx(3.0)
    assert np.isnan(column["direct (sgd)"]) and column["meta"] == 0.5
