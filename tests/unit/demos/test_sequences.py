"""Tests of demos/test_time_training/sequences.py: its data, plans, and a tiny study."""

import csv
import json
from collections import defaultdict

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import map_coordinates

from deepreg_meta.evaluate.endpoint_file import read_pair
from deepreg_meta.study.made_up import write_synthetic
from deepreg_meta.study.schedule import plan_runs


@pytest.fixture
def data(load_demo, monkeypatch):
    """:return: the script that writes the pairs, with few hearts."""
    script = load_demo("test_time_training", "sequence_data")
    numbers = {"train": 2, "valid": 1, "test": 2}
    monkeypatch.setattr(script, "NUM_HEARTS", numbers)
    return script


@pytest.fixture
def study(load_demo):
    """:return: the study."""
    return load_demo("test_time_training", "sequences")


def names_in(folder):
    """:return: names of files, sorted."""
    return sorted(path.name for path in folder.iterdir())


def test_patients_and_hearts_are_in_one_split(data, tmp_path):
    source = write_synthetic(tmp_path / "source")
    assert data.prepare(source, tmp_path / "data", 32) == ["camus", "simulated"]
    splits = defaultdict(set)
    with (tmp_path / "data" / "splits.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            splits[row["data"], row["patient"]].add(row["split"])
    assert len(splits) == 9 + 5 and all(len(own) == 1 for own in splits.values())
    camus, simulated = tmp_path / "data" / "camus", tmp_path / "data" / "simulated"
    for name in names_in(camus / "test" / "fixed_images"):
        moving, fixed = name.removesuffix(".png").split("--")
        assert moving.endswith("_ED") and fixed.endswith("_ES")
    assert len(names_in(simulated / "beat" / "truth")) == 2
    assert len(names_in(simulated / "neighbours" / "truth")) == 6
    assert len(names_in(simulated / "train" / "fixed_images")) == 8
    train = {name.split("_")[0] for name in names_in(simulated / "train" / "truth")}
    tests = {name.split("_")[0] for name in names_in(simulated / "beat" / "truth")}
    assert not train & tests


def test_the_truth_leads_from_the_fixed_labels_to_the_moving_ones(data, tmp_path):
    data.prepare(None, tmp_path / "data", 48)
    folder = tmp_path / "data" / "simulated" / "beat"
    for name in names_in(folder / "truth"):
        truth = read_pair(None, folder / "truth" / name).truth[:, :, 0, :2]
        fixed, moving = (
            nib.load(folder / f"{role}_labels" / name).get_fdata()[..., 0]
            for role in ("fixed", "moving")
        )
        places = np.moveaxis(truth, -1, 0) + np.indices(fixed.shape)
        warped = map_coordinates(moving, places, order=0, mode="nearest")
        wall = np.abs(truth).max(-1)[fixed > 0]
        assert wall.max() > 2  # pixels
        # but for pixels at the borders of the structures
        assert (warped != fixed).mean() < 0.25 * (moving != fixed).mean()


def test_written_pairs_are_kept_and_others_replace_them(data, tmp_path):
    data.prepare(None, tmp_path / "data", 32)
    first = json.loads((tmp_path / "data" / "dataset.json").read_text())
    path = tmp_path / "data" / "splits.csv"
    before = path.stat().st_mtime_ns
    data.prepare(None, tmp_path / "data", 32)
    assert path.stat().st_mtime_ns == before
    data.prepare(None, tmp_path / "data", 32, seed=1)
    other = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert other["digest"] != first["digest"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        data.prepare(None, tmp_path / "mine", 32)


def test_patients_are_kept_where_no_source_is_named(data, tmp_path):
    source = write_synthetic(tmp_path / "source")
    both = data.prepare(source, tmp_path / "data", 32)
    assert data.prepare(None, tmp_path / "data", 32) == both
    assert names_in(tmp_path / "data" / "camus" / "test" / "fixed_images")
    with pytest.raises(ValueError, match="--from: expected a folder with camus_echo"):
        data.prepare(tmp_path, tmp_path / "other", 32)


@pytest.mark.parametrize("form", ["smoke", "sequences"])
def test_every_method_takes_as_many_steps_and_no_choice_looks_at_a_test(study, form):
    runs = plan_runs(study.plan_of(form), "/data")
    steps = defaultdict(set)
    for run in runs:
        train = run.overrides["train"]
        meta = {"inner_steps": 1, "episodes_per_epoch": 300} | train.get("meta", {})
        number = meta["inner_steps"] * meta["episodes_per_epoch"]
        if run.method != "random":
            steps[run.sweep].add(number)
        folders = {folder.split("/")[-1] for folder in run.tests.values()}
        allowed = {"valid"} if run.sweep else {"test", "beat", "neighbours"}
        assert folders and folders <= allowed
    assert len(steps[""]) == 1
    updates = {"SSR-90": 90, "field-90": 90, "SSMSR-30-30-30": 30, "field-30-30-30": 30}
    if form == "sequences":
        for name, number in updates.items():
            adapt = runs[0].adaptations[name]
            assert adapt.get("field", adapt)["steps"] == number


TINY = """
config: {train: {epochs: 1}}
data: {simulated: {methods: [random], adaptations: [SSMSR-30-30-30]}}
methods: {random: {train: {epochs: 0}}}
"""


@pytest.mark.slow
def test_a_tiny_study_ends_with_its_report(
    study, data, tmp_path, monkeypatch, registered, plain_graphs
):
    plan = tmp_path / "tiny.yml"
    plan.write_text(TINY)
    files = [*study.plan_of("smoke"), plan]
    monkeypatch.setattr(study, "plan_of", lambda form: files)
    packed = str(tmp_path / "runs.zip")
    folders = ["--output", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data")]
    flags = ["--form", "smoke", "--jobs", "1", "--pack", packed]
    assert study.main([*flags, *folders]) == 0
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert set(rows["test"]) == {"beat", "neighbours"}
    measured = ["dice", "dice_nearest", "epe", "epe_label", "ncc", "cpu_seconds"]
    assert rows[measured].notna().all(axis=None)
    rivals = pd.read_csv(tmp_path / "out" / "classical.csv")
    assert set(rivals["test"]) == {"beat", "neighbours"}
    beat = rivals[rivals["test"] == "beat"]
    assert (beat["epe_label"] < beat["epe_label_before"]).all()
    known = rows[rows["test"] == "beat"].groupby("case")["epe_label_before"].first()
    np.testing.assert_allclose(  # one truth for both
        beat.set_index("case")["epe_label_before"], known, rtol=1e-6
    )
    report = (tmp_path / "out" / "report.md").read_text()
    assert "## Results: beat" in report and "demons, sigma 3 (SimpleITK)" in report
    there = ["--output", str(tmp_path / "there"), "--report", "--unpack", packed]
    assert study.main(["--form", "smoke", *there]) == 0  # without data
    assert "demons, sigma 3" in (tmp_path / "there" / "report.md").read_text()


def test_settings_of_rivals_are_compared_on_validation_pairs(
    load_demo, data, tmp_path, monkeypatch, capsys
):
    script = load_demo("test_time_training", "rivals")
    monkeypatch.setattr(script, "image_side", lambda plan: 48)
    monkeypatch.setattr(script, "SIGMAS", (1.0, 8.0))
    monkeypatch.setattr(script.sequence_data, "NUM_HEARTS", data.NUM_HEARTS)
    source = write_synthetic(tmp_path / "source")
    folders = ["--from", str(source), "--data-dir", str(tmp_path / "data")]
    assert script.main(folders) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = pd.DataFrame(cells[2:], columns=cells[0])
    assert list(table["data"]) == ["camus"] * 4 + ["simulated"] * 4
    plain = ["demons, sigma 1", "demons, sigma 8"]
    every = plain + [f"{name}, not matched" for name in plain]
    assert list(table["method"]) == every * 2
    assert set(table.loc[:3, "epe_label"]) == {"\u2013"}  # no truth
    folds = table["positive"].astype(float)
    assert (folds[::2].to_numpy() < folds[1::2].to_numpy()).all()
    with pytest.raises(SystemExit):
        script.main([*folders, "--data", "camus,others"])
    assert "--data: expected some of camus, simulated" in capsys.readouterr().err
