"""Tests of demos/meta_regularization/study.py: its plans, and a tiny study."""

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.config import load_config
from deepreg_meta.study.plan import read_plan
from deepreg_meta.study.schedule import plan_runs


@pytest.fixture
def study(load_demo):
    """:return: the script."""
    return load_demo("meta_regularization", "study")


@pytest.fixture(params=["smoke", "reduced", "full"])
def runs(request, study):
    """:return: the runs of a form."""
    return plan_runs(study.plan_of(request.param), "/data")


def test_no_training_reads_labels_and_every_test_does(runs):
    for run in runs:
        config = load_config(run.files, run.overrides)
        assert config.is_reptile and not config.dataset.labeled
        assert config.train.loss.label is None
        assert config.adapt.steps == 0
        assert run.test_config["dataset"]["labeled"]


def test_training_is_joint_training_with_two_pairs(runs):
    for run in runs:
        meta = load_config(run.files, run.overrides).train.meta
        assert (meta.inner_steps, meta.tasks_per_step) == (1, 2)
        assert (meta.meta_step_size, meta.meta_step_size_end) == (1.0, 0.02)
        assert meta.inner_optimizer_state == "carry"


def test_no_training_of_the_smoke_form_is_long(study):
    """Sweeps have a length of their own: each of them has to be shortened."""
    runs = plan_runs(study.plan_of("smoke"), "/data")
    sweeps = read_plan(study.plan_of("reduced")).sweeps
    assert {run.sweep for run in runs} == {"", *sweeps}
    assert max(run.overrides["train"]["epochs"] for run in runs) <= 2


def test_the_readme_says_how_many_trainings_a_form_has(study):
    readme = (study.HERE / "README.md").read_text()
    for form in ("smoke", "reduced"):
        count = len(plan_runs(study.plan_of(form), "/data"))
        assert f"; {count} trainings |" in readme


def test_liver_is_deformed_by_the_energy_of_its_name(runs):
    for run in runs:
        augmentation = run.overrides["train"].get("preprocess", {})
        augmentation = augmentation.get("data_augmentation")
        if run.data.startswith("liver"):
            assert augmentation["sigma"] == float(run.data.removeprefix("liver_"))
            assert augmentation["images"] == "fixed"
        else:
            assert augmentation is None


def test_the_penalty_is_tuned_over_the_grids_of_the_source_without_the_tests(study):
    runs = plan_runs(study.plan_of("reduced"), "/data")
    tuned = [run for run in runs if run.sweep == "rho"]
    backbones = [run.overrides["train"]["backbone"] for run in tuned]
    assert sorted({b["rho1"] for b in backbones}) == [0.1, 1.0, 10.0, 100.0, 1000.0]
    assert sorted({b["rho2"] for b in backbones}) == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert len(tuned) == 25
    assert {run.tests["valid"] for run in tuned} == {"/data/liver/valid_16"}


def test_every_method_of_the_source_is_run_on_the_four_combinations(study):
    runs = plan_runs(study.plan_of("reduced"), "/data", data=["liver_10", "liver_16"])
    main = [run for run in runs if not run.sweep]
    found = {(run.method, run.data, test) for run in main for test in run.tests}
    energies = ("liver_10", "liver_16")
    for method in ("dirnet", "fcn_ss", "voxelmorph1", "voxelmorph2",
                   "unet_transposed", "meta_penalty"):  # fmt: skip
        assert {(method, a, b) for a in energies for b in energies} <= found
    assert {run.seed for run in main} == {0, 1, 2}


def test_the_layer_is_held_against_every_method_without_it(study):
    rows = pd.DataFrame(
        dict(method=m, data="d", test="d", seed=0, case=str(c), dice=c / 10 + gain)
        for m, gain in (("dirnet", 0.0), ("unet_transposed", 0.2), ("meta_radial", 0.3))
        for c in range(3)
    )
    table = study.test_table(rows)
    assert table["other"].tolist() == ["dirnet", "unet_transposed"]
    assert table["mean_difference"].tolist() == pytest.approx([0.3, 0.1])
    assert study.test_table(rows, "epe").empty
    errors = study.test_table(rows.assign(epe=1 - rows["dice"]), "epe")
    assert errors["mean_difference"].tolist() == pytest.approx([-0.3, -0.1])


def test_a_study_of_other_data_is_not_gone_on_with(study, tmp_path):
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "dataset.json").write_text('{"digest": "0"}')
    study.check_data(data, output)
    study.check_data(data, output)
    (data / "dataset.json").write_text('{"digest": "1"}')
    with pytest.raises(
        ValueError, match='a study of the same data, got one of {"digest"'
    ):
        study.check_data(data, output)


TINY = """
base: [{base}]
config:
  dataset: {{moving_image_shape: [16, 16], fixed_image_shape: [16, 16]}}
  train:
    backbone: {{num_channel_initial: 4}}
    meta: {{episodes_per_epoch: 2}}
    epochs: 2
    save_period: 1
methods:
  unet_transposed: {{}}
  meta_separable:
    train:
      backbone:
        name: meta_regularized
        backbone: {{name: unet_transposed}}
        parameterization: separable
data:
  liver_16:
    train: liver/train
    tests: {{liver_16: liver/test_16}}
    test_config: {{dataset: {{labeled: true, labels: {{liver: 3}}}}}}
seeds: [0]
"""


@pytest.mark.slow
def test_a_tiny_study_ends_with_its_report(
    study, tmp_path, monkeypatch, registered, untraced
):
    plan = tmp_path / "tiny.yml"
    plan.write_text(TINY.format(base=study.HERE / "meta_regularization.yaml"))
    monkeypatch.setattr(study, "plan_of", lambda form: [plan])
    folders = ["--output", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data"),
               "--jobs", "1"]  # fmt: skip
    assert study.main(folders) == 0
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert set(rows["method"]) == {"unet_transposed", "meta_separable"}
    measured = ["dice", "epe", "epe_label", "positive", "jacobian_min", "seconds"]
    assert rows[measured].notna().all(axis=None)
    assert rows["epe_before"].to_numpy() == pytest.approx(
        # 16 of 256 pixels, as the root mean square of either component: 1 of 16
        np.full(len(rows), 1.25), rel=0.15,
    )  # fmt: skip
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Table 1: trained on liver_16" in report and "Table 5" in report
    names = ("loss_liver_16.png", "dice_liver_16_liver_16.png")
    for name in names:
        assert f"(figures/{name})" in report
        assert (tmp_path / "out" / "figures" / name).is_file()
    assert study.main([*folders, "--only", "unet_transposed"]) == 0  # all is there
    again = pd.read_csv(tmp_path / "out" / "rows.csv")
    pd.testing.assert_frame_equal(again, rows)
    packed = str(tmp_path / "runs.zip")
    assert study.main([*folders, "--report", "--pack", packed]) == 0
    there = ["--output", str(tmp_path / "there"), "--report", "--unpack", packed]
    assert study.main(there) == 0  # neither data nor weights are needed
    assert (tmp_path / "there" / "report.md").read_text() == (
        tmp_path / "out" / "report.md"
    ).read_text()


def test_a_report_of_no_runs_is_refused(study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        study.main(["--output", str(tmp_path), "--report"])
    assert "expected finished runs" in capsys.readouterr().err
