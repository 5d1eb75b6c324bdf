"""Tests of running a study, with trainings that are made up: what is run, and when."""

import os
import re
import shutil
import signal
import sys
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from deepreg_meta.study import timing
from deepreg_meta.study.folder import gather_rows, is_finished, run_folder
from deepreg_meta.study.run import run_study
from deepreg_meta.study.timing import time_methods
from tests.unit.study.trainer import Trainer


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
    assert rows.dice_y_before.tolist() == pytest.approx([0.4] * 4)
    assert rows.hd95_x_before.tolist() == pytest.approx([5.0] * 4)
    assert rows.hd95_before.tolist() == pytest.approx([5.5] * 4)
    assert rows.hd95.tolist() == pytest.approx([1.5] * 4)
    assert rows.hd95_x.tolist() == pytest.approx([2.0] * 4)
    assert rows.positive.tolist() == pytest.approx([75.0] * 4)
    assert rows.jacobian_min.tolist() == pytest.approx([-0.5] * 4)


def test_a_lost_structure_leaves_its_case_without_a_distance(study, tmp_path):
    trainer = Trainer()
    trainer.lost_distance, trainer.unit = None, "_vox"
    study(trainer)
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert rows.hd95.isna().all() and rows.hd95_x.tolist() == [2.0] * 4


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


def test_an_interrupted_test_loses_no_other(study, runs, tmp_path):
    first, second = Trainer(), Trainer()
    test = first.test

    def interrupted(ckpt_path, mode, config_path, log_dir, *args):
        if log_dir == "b":
            raise KeyboardInterrupt
        return test(ckpt_path, mode, config_path, log_dir, *args)

    first.test = interrupted
    with pytest.raises(KeyboardInterrupt):
        study(first, runs[:1])
    rows = pd.read_csv(run_folder(runs[0], tmp_path / "out") / "rows.csv")
    assert rows["test"].tolist() == ["a"]
    assert not is_finished(runs[0], tmp_path / "out")
    study(second, runs[:1])
    assert [test for _, test, _ in second.tested] == ["b"]


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


@pytest.mark.parametrize(
    "change",
    [
        dict(adaptations={"ten": {"steps": 99}}),
        dict(test_config={"dataset": {"labeled": True, "labels": {"x": 2}}}),
        dict(start="other"),
    ],
)
def test_rows_of_other_tests_are_not_taken_for_those_of_the_plan(
    study, chain, tmp_path, change
):
    tuned = replace(chain[1], adaptations={"ten": {"steps": 10}}, checkpoints=())
    study(Trainer(), [chain[2], tuned])
    assert is_finished(tuned, tmp_path / "out")
    with pytest.raises(ValueError, match="next--seed1: expected no run, or one of"):
        study(Trainer(), [chain[2], replace(tuned, **change)])
    moved = replace(tuned, tests={"a": "/e/a", "b": "/e/b"})  # data may move
    assert is_finished(moved, tmp_path / "out")


def test_names_that_look_like_numbers_or_nothing_are_names(study, runs, tmp_path):
    odd = replace(
        runs[0],
        method="NA",
        tests={"1": "/d/1"},
        adaptations={"None": {}, "null": {"steps": 3}},
    )
    trainer = Trainer()
    study(trainer, [odd])
    assert len(trainer.tested) == 2 and is_finished(odd, tmp_path / "out")
    rows = gather_rows([odd], tmp_path / "out")
    assert rows[["method", "test", "adaptation", "case"]].values.tolist() == [
        ["NA", "1", "None", "007"], ["NA", "1", "null", "007"],
    ]  # fmt: skip


def test_nothing_starts_from_a_training_that_failed_on_its_way(study, chain, tmp_path):
    trainer = Trainer()

    def broken(config_path, gpu, ckpt_path, log_dir, log_root, fine_tune=False):
        trainer.stop_after = 2 if log_dir == chain[2].name else None
        try:
            trainer.train(config_path, gpu, ckpt_path, log_dir, log_root, fine_tune)
        except KeyboardInterrupt:
            raise ValueError("the disk is full") from None

    failures = run_study(chain, tmp_path / "out", broken, trainer.predict)
    assert failures[chain[2].name] == "the disk is full"
    for run in chain[:2]:
        assert "expected a training that has ended, to start from" in failures[run.name]
    assert trainer.tuned == trainer.tested == []
    again = Trainer()
    assert study(again, chain) == {}
    assert again.tuned == [chain[1].name, chain[0].name]


def end_layer(config_path, gpu, ckpt_path, log_dir, log_root):
    """Stands in for a training whose process is killed for one method."""
    if log_dir.startswith("liver--layer"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_does_not_lose_the_others(runs, tmp_path):
    runs.append(replace(runs[0], seed=2))
    failures = run_study(runs, tmp_path / "out", end_layer, write_result, jobs=2)
    assert list(failures) == [runs[1].name]
    assert "ended from outside" in failures[runs[1].name]
    error = run_folder(runs[1], tmp_path / "out") / "error.txt"
    assert "ended from outside" in error.read_text()
    assert is_finished(runs[2], tmp_path / "out")


def touch(config_path, gpu, ckpt_path, log_dir, log_root):
    """Stands in for a training in a process of its own: says where it is."""
    sys.stdout.write(f"this is process {os.getpid()}\n")
    sys.stdout.flush()
    os.write(2, f"of {os.environ['TF_NUM_INTRAOP_THREADS']} threads".encode())
    if log_dir.startswith("liver--layer"):
        raise ValueError("the loss is not finite")


def write_result(log_dirs, **kwargs):
    """Stands in for a prediction in a process of its own."""
    return list(Trainer().predict(log_dirs, **kwargs))


def test_runs_share_the_machine_as_processes_that_print_into_files(
    runs, tmp_path, monkeypatch
):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    runs.append(replace(runs[0], seed=2))
    failures = run_study(runs, tmp_path / "out", touch, write_result, jobs=2)
    assert failures == {runs[1].name: "the loss is not finite"}
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    # in the order of the plan, whichever ended first
    assert rows[["method", "seed", "test"]].values.tolist() == [
        ["plain", 1, "a"], ["plain", 1, "b"], ["plain", 2, "a"], ["plain", 2, "b"],
    ]  # fmt: skip
    for run in runs:
        text = (run_folder(run, tmp_path / "out") / "output.txt").read_text()
        process = int(re.match(r"this is process (\d+)\n", text)[1])
        assert process != os.getpid()
        assert f"of {max(1, os.cpu_count() // 2)} threads" in text


def test_methods_are_timed_one_by_one_and_once_on_a_machine(
    runs, study, tmp_path, monkeypatch
):
    trainer = Trainer()
    study(trainer)
    swept = replace(runs[0], method="other", sweep="lambda", setting="weight=1")
    out = tmp_path / "out"
    trainer.tested.clear()
    table = time_methods([*runs, swept], out, trainer.predict)
    assert table[["method", "seconds", "cases"]].values.tolist() == [
        ["plain", 0.5, 1], ["layer", 0.5, 1],
    ]  # fmt: skip
    assert [name for name, _, _ in trainer.tested] == [run.name for run in runs]
    again = time_methods([*runs, swept], out, trainer.predict)
    assert len(trainer.tested) == 2 and again.equals(table)
    for run in runs:  # a prediction replaces results, which the trainer does not
        shutil.rmtree(run_folder(run, out) / "timing")
    monkeypatch.setattr(timing, "processor", lambda: "another")
    other = time_methods([*runs, swept], out, trainer.predict)
    assert len(trainer.tested) == 4 and set(other["processor"]) == {"another"}


def test_the_time_of_a_method_is_the_median_over_its_cases(runs, study, tmp_path):
    trainer = Trainer()
    study(trainer)

    def predict(*args, **options):
        for folder in trainer.predict(*args, **options):
            cases = pd.DataFrame({"seconds": [0.5, 4.0, 0.9]})
            cases.to_csv(folder / "metrics.csv", index=False)
            yield folder

    table = time_methods(runs[:1], tmp_path / "out", predict)
    found = table[["seconds", "least", "most", "cases"]].values.tolist()
    assert found == [[0.9, 0.5, 4.0, 3]]


def test_every_test_is_run_once_for_each_adaptation(runs, study, tmp_path):
    trainer = Trainer()
    adaptations = {"none": {"steps": 0}, "ten": {"steps": 10, "keep": "best"}}
    adapted = [replace(runs[0], adaptations=adaptations)]
    study(trainer, adapted)
    assert [name for _, name, _ in trainer.tested] == [
        "a--none", "a--ten", "b--none", "b--ten"
    ]  # fmt: skip
    folder = run_folder(runs[0], tmp_path / "out")
    extra = yaml.safe_load((folder / "test_a--ten.yaml").read_text())
    assert extra["adapt"] == {"steps": 10, "keep": "best"}
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert rows["adaptation"].tolist() == ["none", "ten"] * 2


def test_an_adaptation_that_is_added_later_is_tested_without_a_training(runs, study):
    trainer = Trainer()
    study(trainer, [replace(runs[0], adaptations={"none": {}})])
    trainer.trained.clear()
    trainer.tested.clear()
    more = replace(runs[0], adaptations={"none": {}, "ten": {"steps": 10}})
    study(trainer, [more])
    assert trainer.trained == []
    assert [name for _, name, _ in trainer.tested] == ["a--ten", "b--ten"]


def test_no_row_is_no_table(runs, tmp_path):
    assert gather_rows(runs, tmp_path / "out").empty


@pytest.fixture
def chain(runs):
    """:return: three runs, each but the first starting from the one before."""
    first = runs[0]
    second = replace(
        first, method="next", start=first.name, depth=1, checkpoints=(0, 2)
    )
    third = replace(first, method="last", start=second.name, depth=2)
    return [third, second, first]


def test_runs_start_from_the_weights_of_others(study, chain, tmp_path):
    trainer = Trainer()
    assert study(trainer, chain) == {}
    third, second, first = (run.name for run in chain)
    assert trainer.trained == [(first, ""), (second, first), (third, second)]
    assert trainer.tuned == [second, third]


def test_checkpoints_are_tested_each_by_itself(study, chain, tmp_path):
    trainer = Trainer()
    study(trainer, chain)
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    own = rows[rows.method == "next"]
    assert list(zip(own.test, own.epoch, strict=True)) == [
        ("a", 0), ("a", 2), ("b", 0), ("b", 2),
    ]  # fmt: skip
    assert set(rows[rows.method != "next"].epoch) == {-1}
    tested = [(path, name) for path, name, _ in trainer.tested if "epoch" in name]
    assert tested == [
        ("ckpt-0", "a--epoch0"), ("ckpt-2", "a--epoch2"),
        ("ckpt-0", "b--epoch0"), ("ckpt-2", "b--epoch2"),
    ]  # fmt: skip


def test_weights_that_are_missing_are_trained_again_where_others_start(
    study, chain, tmp_path
):
    study(Trainer(), chain[1:])
    folder = run_folder(chain[2], tmp_path / "out")
    for path in (folder / "save").iterdir():
        path.unlink()
    trainer = Trainer()
    study(trainer, chain[1:])
    assert trainer.trained == []  # both are finished
    (run_folder(chain[1], tmp_path / "out") / "rows.csv").unlink()
    for path in (run_folder(chain[1], tmp_path / "out") / "save").iterdir():
        path.unlink()
    study(trainer, chain[1:])
    assert [name for name, _ in trainer.trained] == [chain[2].name, chain[1].name]
    assert not [name for name, *_ in trainer.tested if name == chain[2].name]
