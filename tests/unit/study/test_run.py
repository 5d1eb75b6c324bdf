"""Tests of running a study, with trainings that are made up: what is run, and when."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from deepreg_meta.study.run import gather_rows, is_finished, run_folder, run_study
from deepreg_meta.study.schedule import Run

BASE = {"train": {"epochs": 4, "method": "reptile"}, "dataset": {"type": "paired"}}


class Trainer:
    """Stands in for training and prediction: writes what they would, and counts."""

    def __init__(self):
        self.trained, self.tested, self.fail_at, self.stop_after = [], [], "", None

    def train(self, config_path, gpu, ckpt_path, log_dir, log_root):
        self.trained.append((log_dir, Path(ckpt_path).name))
        if log_dir == self.fail_at:
            raise ValueError("the loss is not finite")
        folder = Path(log_root) / log_dir
        epochs = yaml.safe_load(Path(config_path[0]).read_text())["train"]["epochs"]
        (folder / "save").mkdir(exist_ok=True)
        first = int(ckpt_path.rsplit("-", 1)[-1]) if ckpt_path else 0
        for epoch in range(first + 1, epochs + 1):
            (folder / "save" / f"ckpt-{epoch}.index").touch()
            if self.stop_after == epoch:
                raise KeyboardInterrupt

    def predict(self, ckpt_path, mode, config_path, gpu, log_dir, log_root, outputs):
        self.tested.append((Path(ckpt_path).name, log_dir, outputs.formats))
        dataset = yaml.safe_load(Path(config_path[1]).read_text())["dataset"]
        assert dataset["labeled"] and dataset["dir"]["test"] == f"/d/{log_dir}"
        folder = Path(log_root) / log_dir / mode
        folder.mkdir(parents=True)
        row = dict(case="007", seconds=0.5, folds_unadapted=0.25, mse_before=2.0,
                   mse_unadapted=1.0, jacobian_min_unadapted=-0.5)  # fmt: skip
        pd.DataFrame([row]).to_csv(folder / "metrics.csv", index=False)
        labels = [
            dict(case="007", label="x", dsc_before=0.2, dsc_unadapted=0.6),
            dict(case="007", label="y", dsc_before=0.4, dsc_unadapted=0.9),
        ]
        pd.DataFrame(labels).to_csv(folder / "labels.csv", index=False)
        return folder


@pytest.fixture
def runs(tmp_path):
    """:return: two runs of two methods, with two test sets."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    return [
        Run(method=name, data="liver", seed=1, files=(str(tmp_path / "base.yaml"),),
            overrides={"train": {"seed": 1}}, tests={"a": "/d/a", "b": "/d/b"},
            test_config={"dataset": {"labeled": True}})
        for name in ("plain", "layer")
    ]  # fmt: skip


@pytest.fixture
def study(runs, tmp_path):
    """:return: a function that runs the study with a trainer."""
    return lambda own, some=None: run_study(
        some or runs, tmp_path / "out", own.train, own.predict
    )


def test_every_test_case_of_every_run_has_one_row(study, tmp_path):
    trainer = Trainer()
    assert study(trainer) == {}
    rows = pd.read_csv(tmp_path / "out" / "rows.csv", dtype={"case": str})
    assert list(zip(rows.method, rows.test, rows.case, strict=True)) == [
        ("plain", "a", "007"), ("plain", "b", "007"),
        ("layer", "a", "007"), ("layer", "b", "007"),
    ]  # fmt: skip
    # the mean of both structures; a quarter of the determinants is not positive
    assert rows.dice_before.tolist() == pytest.approx([0.3] * 4)
    assert rows.dice.tolist() == pytest.approx([0.75] * 4)
    assert rows.dice_y.tolist() == pytest.approx([0.9] * 4)
    assert rows.positive.tolist() == pytest.approx([75.0] * 4)
    assert rows.jacobian_min.tolist() == pytest.approx([-0.5] * 4)


def test_a_finished_run_is_not_run_again(study):
    first, second = Trainer(), Trainer()
    study(first)
    study(second)
    assert len(first.trained) == 2
    assert second.trained == second.tested == []


def test_an_interrupted_training_goes_on_from_its_checkpoint(study, runs):
    first, second = Trainer(), Trainer()
    first.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        study(first)
    study(second)
    assert second.trained == [(runs[0].name, "ckpt-3"), (runs[1].name, "")]


def test_a_run_that_was_trained_but_not_tested_is_only_tested(study, runs):
    first, second = Trainer(), Trainer()
    first.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        study(first)
    study(second, runs[:1])
    assert second.trained == []
    assert [test for _, test, _ in second.tested] == ["a", "b"]


def test_a_run_that_fails_does_not_lose_the_others_and_is_tried_again(
    study, runs, tmp_path
):
    first, second = Trainer(), Trainer()
    first.fail_at = runs[0].name
    assert study(first) == {runs[0].name: "the loss is not finite"}
    error = run_folder(runs[0], tmp_path / "out") / "error.txt"
    assert "the loss is not finite" in error.read_text()
    assert set(pd.read_csv(tmp_path / "out" / "rows.csv").method) == {"layer"}
    assert study(second) == {}
    assert [name for name, _ in second.trained] == [runs[0].name]
    assert not error.exists()


def test_a_folder_of_another_configuration_is_refused(study, runs, tmp_path):
    study(Trainer())
    runs[0].overrides["train"]["epochs"] = 9
    with pytest.raises(ValueError, match="plain--seed1: expected no run, or one of"):
        study(Trainer())
    runs[0].overrides["train"].pop("epochs")
    runs[0].overrides["dataset"] = {"dir": {"train": "/elsewhere"}}  # data may move
    assert is_finished(runs[0], tmp_path / "out")


def test_no_row_is_no_table(runs, tmp_path):
    assert gather_rows(runs, tmp_path / "out").empty
