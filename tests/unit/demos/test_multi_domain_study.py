"""Tests of demos/multi_domain/study.py: plans, tables, and a tiny study."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.config import load_config
from deepreg_meta.study.folder import LAST
from deepreg_meta.study.made_up import write_synthetic
from deepreg_meta.study.schedule import plan_runs

TARGETS = ("brain", "chest", "echo")


@pytest.fixture
def study(load_demo):
    """:return: the script."""
    return load_demo("multi_domain", "study")


@pytest.fixture(params=["smoke", "reduced", "choices", "landmarks"])
def runs(request, study):
    """:return: the runs of a form."""
    return plan_runs(study.plan_of(request.param), "/data")


def gradients(run):
    """:return: how many pairs a run takes the gradient of, those of its starts not."""
    config = load_config(run.files, run.overrides)
    meta, train = config.meta, config.train
    steps = meta.inner_steps + (meta.update == "fomaml")  # the outer step's own
    number = train.epochs * meta.episodes_per_epoch * steps
    return number * meta.tasks_per_step * train.preprocess.batch_size


@pytest.mark.parametrize("form", ["reduced", "landmarks"])
def test_all_strategies_have_one_budget(study, form):
    runs = plan_runs(study.plan_of(form), "/data", parts=["main"])
    by_name = {run.name: run for run in runs}

    def total(run):
        before = total(by_name[run.start]) if run.start else 0
        return gradients(run) + before

    for run in runs:
        if run.method in ("fine_tune", "ours", "model_unseen", "model_seen"):
            assert total(run) == 18000
        elif run.method in ("transfer", "meta"):  # as much before fine-tuning
            assert total(run) == 12000


def test_the_choices_differ_in_what_they_name_alone(study):
    """All forms have one budget, and but for rates by name are tuned at one rate."""
    runs = plan_runs(study.plan_of("choices"), "/data", parts=["main"])
    assert {run.data for run in runs} == {"chest"}
    rates = {"slow": 1e-4, "fast": 1e-3}
    for run in runs:
        last = run.method.rpartition("_")[2]
        config = load_config(run.files, run.overrides)
        is_tuned = run.method.startswith(("fine_tune", "ours"))
        assert gradients(run) == (50 * 20 if is_tuned else 6000), run.method
        if is_tuned:
            assert run.checkpoints == (0, 1, 2, 5, 10, 20, 50)
            rate = config.train.optimizer.learning_rate
            assert rate == rates.get(last, 3e-4), run.method
        noise = config.raw["train"]["loss"]["image"].get("noise", 0.0)
        assert noise == (0.01 if last == "noise" else 0.0), run.method


def test_the_target_is_never_among_the_sources(runs):
    for run in runs:
        config = load_config(run.files, run.overrides)
        if run.method.split("_")[0] in ("pooled", "transfer", "meta"):
            names = set(config.dataset.domains)
            assert run.data not in names
            assert len(names) == (3 if len(names) < 5 else 7)
            folders = [d["dir"]["train"] for d in run.overrides["dataset"][
                "domains"].values()]  # fmt: skip
            assert all(f"/{run.data}/" not in folder for folder in folders)
        else:
            assert config.dataset.domains is None
            folder = Path(run.overrides["dataset"]["dir"]["train"])
            seen = run.method == "model_seen"
            assert folder == Path("/data") / run.data / ("seen" if seen else "few")


def test_each_target_takes_its_turn_with_three_seeds(study):
    runs = plan_runs(study.plan_of("reduced"), "/data", parts=["main"])
    assert {run.data for run in runs} == set(TARGETS)
    for method in ("ours", "fine_tune"):
        own = [run for run in runs if run.method == method]
        assert {(r.data, r.seed) for r in own} == {
            (target, seed) for target in TARGETS for seed in range(3)
        }
        assert all({0, 10, 300} <= set(run.checkpoints) for run in own)


def test_no_training_reads_a_label_and_choices_look_at_no_test(study):
    for form in study.FORMS:
        for run in plan_runs(study.plan_of(form), "/data"):
            config = load_config(run.files, run.overrides)
            assert not config.dataset.labeled and config.train.loss.label is None
            folders = {Path(folder).name for folder in run.tests.values()}
            is_choice = run.sweep or form == "choices"
            assert folders == ({"valid"} if is_choice else {"test"})


def test_the_retina_alone_is_the_target_of_the_landmarks(study):
    runs = plan_runs(study.plan_of("landmarks"), "/data")
    assert {run.data for run in runs} == {"retina"} and len(runs) == 7 * 3
    for run in runs:  # pictures and files of one grid side by side
        config = load_config(run.files, run.overrides)
        formats = {name: one.format for name, one in config.domains.items()}
        assert config.dataset.format == "nifti"
        assert all((formats[n] == "nifti") == (n == "abdomen") for n in formats)
        assert all(
            one.spacing_mm is None for one in config.domains.values()
            if one.format == "png"
        )  # fmt: skip


def rows_of(curves):
    """:return: rows of three pairs and two seeds, from a curve of each method."""
    return pd.DataFrame(
        dict(method=method, adaptation="", data="chest", test="chest", seed=seed,
             sweep="", setting="", case=f"pair{case}", epoch=epoch, asd_before=4.0,
             asd=distance + case / 10 + seed / 5, dice_before=0.5,
             dice=0.9 - distance / 10, ncc_before=0.5, ncc=0.6 - case / 50,
             loss=distance, positive=100.0)
        for method, curve in curves.items()
        for epoch, distance in curve.items()
        for case in range(3)
        for seed in range(2)
    )  # fmt: skip


CURVES = {
    "fine_tune": {0: 3.0, 10: 2.0, 100: 1.5, 300: 0.9},
    "ours": {0: 2.5, 10: 1.0, 100: 0.8, 300: 0.7},
    "transfer": {LAST: 3.0},
    "model_unseen": {10: 3.5, 900: 1.2},
}


def test_the_epochs_to_the_same_result_are_read_from_the_curve(study):
    table = study.epochs_table(rows_of(CURVES)).set_index(["of", "method"])
    # 1.5 at 100, 0.9 at 300: 1.0 in between
    expected = 100 + 200 * 0.5 / 0.6
    for quantity in ("ASD", "Dice", "loss"):
        line = table.loc[quantity, "fine_tune"]
        assert line["epochs"] == pytest.approx(expected)
        assert line["by seed"] == f"{expected:.0f}, {expected:.0f}"
        assert line["as good as"] == "ours, 10 epochs"
        # from 2.5 at 0 to 1.0 at 10
        assert table.loc[quantity, "ours"]["epochs"] == pytest.approx(10 / 3)
    never = study.epochs_table(rows_of(CURVES | {"ours": {0: 2.5, 10: 0.1}}))
    line = never.set_index(["of", "method"]).loc["ASD", "fine_tune"]
    assert np.isnan(line["epochs"]) and line["by seed"] == "–, –"


def test_of_points_the_distances_are_told_and_of_structures_those_of_surfaces(study):
    rows = rows_of(CURVES).assign(epe_label=3.0, epe_label_before=5.0)
    points = rows.assign(test="retina", epe_label=2 * rows["loss"])
    both = pd.concat([rows, points])
    found = study.epochs_table(both)
    quantities = found.groupby("test", sort=False)["of"].unique()
    assert quantities["chest"].tolist() == ["ASD", "Dice", "NCC", "loss"]
    assert quantities["retina"].tolist() == ["landmarks", "NCC", "loss"]
    line = found[(found["of"] == "landmarks") & (found["method"] == "fine_tune")]
    assert line["epochs"].tolist() == pytest.approx([100 + 200 * 0.5 / 0.6])
    tables = {name: study.result_table(own) for name, own in study.by_test(both)}
    assert "landmarks (px)" not in tables["chest"] and "ASD (px)" in tables["chest"]
    assert not {"ASD (px)", "Dice (%)"} & set(tables["retina"])
    assert tables["retina"]["landmarks (px)"].tolist()[:2] == [
        "5.000 ± 0.000", "2.400 ± 0.000"
    ]  # fmt: skip
    own = study.test_table(dict(study.by_test(both))["retina"])
    assert own["of"].unique().tolist() == ["landmarks", "NCC", "loss"]


def test_the_curves_are_means_over_pairs_and_seeds(study):
    table = study.curve_tables(rows_of(CURVES))["mean surface distance (px)"]
    assert table["method"].tolist() == ["fine_tune", "ours"]
    by_method = table.set_index("method")
    for method in by_method.index:  # 0.1 over the pairs and 0.1 over the seeds more
        expected = {epoch: value + 0.2 for epoch, value in CURVES[method].items()}
        assert by_method.loc[method].to_dict() == pytest.approx(expected)
    dice = study.curve_tables(rows_of(CURVES))["Dice (%)"].set_index("method")
    assert dice.loc["ours", 10] == pytest.approx(80.0)


def test_the_table_has_the_strategies_in_the_papers_order(study):
    table = study.result_table(rows_of(CURVES))
    assert table["method"].tolist() == [
        "none", "model_unseen, 900 epochs", "transfer", "fine_tune, 0 epochs",
        "fine_tune, 10 epochs", "fine_tune, 300 epochs", "ours, 0 epochs",
        "ours, 10 epochs", "ours, 300 epochs",
    ]  # fmt: skip
    assert table["ASD (px)"].iloc[0] == "4.000 ± 0.000"
    assert table["ASD (px)"].iloc[7] == "1.200 ± 0.100"  # its mean over the seeds
    assert table["seeds"].tolist() == ["1"] + ["2"] * 8


def test_ours_is_held_against_the_others_pair_by_pair(study):
    table = study.test_table(rows_of(CURVES))
    own = table[table["of"] == "ASD"]
    assert list(zip(own["ours"], own["other"], strict=True)) == [
        *(("ours, 10 epochs", other) for other in (
            "model_unseen, 900 epochs", "transfer", "fine_tune, 10 epochs",
            "fine_tune, 300 epochs")),
        ("ours, 300 epochs", "fine_tune, 300 epochs"),
    ]  # fmt: skip
    assert own["mean_difference"].tolist() == pytest.approx(
        [-0.2, -2.0, -1.0, 0.1, -0.2]
    )
    assert (own["n"] == 3).all()


TINY = """
config: {dataset: {moving_image_shape: [16, 16], fixed_image_shape: [16, 16]}}
methods:
  pooled: {train: {meta: {episodes_per_epoch: 2}, epochs: 1}}
  transfer: {train: {meta: {episodes_per_epoch: 2}, epochs: 1}}
  meta: {train: {meta: {inner_steps: 2}}}
  fine_tune: &short {train: {meta: {episodes_per_epoch: 2}, epochs: 1}}
  ours: *short
checkpoints: {fine_tune: [0, 1], ours: [0, 1]}
data:
  chest: {methods: [pooled, transfer, meta, fine_tune, ours]}
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
    words = [*folders, "--jobs", "1", "--data", "chest", "--pack", packed]
    assert study.main(words) == 0
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert set(rows["data"]) == {"chest"}
    assert rows[["dice", "asd", "ncc", "loss", "positive"]].notna().all(axis=None)
    first = rows[rows["epoch"] == 0].set_index(["method", "case"])["ncc"]
    last = rows[rows["method"].isin(["transfer", "meta"])]
    last = last.set_index(["method", "case"])["ncc"]
    for method, start in (("fine_tune", "transfer"), ("ours", "meta")):
        # before any fine-tuning it is what it starts from
        np.testing.assert_allclose(first[method], last[start], atol=1e-6)
    report = (tmp_path / "out" / "report.md").read_text()
    for text in ("Epochs to the same result", "Table 1: chest", "Fig. 3, chest",
                 "example_chest_ours_1_epochs.png"):  # fmt: skip
        assert text in report
    assert (tmp_path / "out" / "figures" / "epochs_chest.png").is_file()
    there = ["--output", str(tmp_path / "there"), "--report", "--unpack", packed]
    assert study.main(there) == 0  # neither data nor weights are needed
    assert "Table 1: chest" in (tmp_path / "there" / "report.md").read_text()


def test_missing_domains_are_named_before_any_training(study, tmp_path, capsys):
    source = write_synthetic(tmp_path / "from")  # which has no retina
    arguments = ["--form", "reduced", "--from", str(source)]
    arguments += ["--output", str(tmp_path / "out")]
    arguments += ["--data-dir", str(tmp_path / "data")]
    with pytest.raises(SystemExit):
        study.main(arguments)
    assert "found none of glioma_t1gd, glioma_t2, ms_flair, retina" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
