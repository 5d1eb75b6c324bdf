"""Tests of demos/meta_trus/study.py: the folds and the pooling, not the trainings."""

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.config import load_config
from tests.helpers import run_config, write_yaml


@pytest.fixture
def study(load_demo):
    """:return: the script."""
    return load_demo("meta_trus", "study")


def test_every_case_is_tested_once_and_the_folds_never_change(study):
    folds = study.fold_indices(21)
    assert [len(fold) for fold in folds] == [7, 7, 7]
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(21))
    for first, again in zip(folds, study.fold_indices(21), strict=True):
        np.testing.assert_array_equal(first, again)


def test_folds_of_other_settings_or_data_are_not_taken(study, tmp_path):
    path, names = tmp_path / "seed0.yaml", ("a", "b")

    def config(steps):
        raw = run_config()
        raw["adapt"] = {"steps": steps}
        return load_config(write_yaml(tmp_path / "run.yaml", raw))

    study.check_same(config(8), names, path)
    study.check_same(config(8), names, path)
    for other in ((config(9), names), (config(8), ("a", "c"))):
        with pytest.raises(SystemExit, match="holds folds of another configuration"):
            study.check_same(*other, path)
    study.check_same(config(8), names, path)


def rows(method: str, dsc: dict, tre: dict) -> list[dict]:
    """:return: rows of a study from {(seed, case): Dice} and {(seed, case): error}."""
    gland = [
        dict(method=method, seed=seed, case=case, kind="gland", dsc=value,
             dsc_off_frames=value, folds=0.0, seconds=1.0)
        for (seed, case), value in dsc.items()
    ]  # fmt: skip
    return gland + [
        dict(method=method, seed=seed, case=case, kind="landmark", landmark="a", tre=v)
        for (seed, case), v in tre.items()
    ]


def test_a_case_counts_once_with_its_mean_over_the_seeds(study):
    ours = {(0, "a"): 0.9, (1, "a"): 0.8, (0, "b"): 0.7, (1, "b"): 0.7, (0, "c"): 0.6}
    bar = dict.fromkeys(ours, 0.5)
    far, near = dict.fromkeys(ours, 4.0), dict.fromkeys(ours, 3.0)
    table = pd.DataFrame(rows(study.REFERENCE, bar, far) + rows(study.OURS, ours, near))
    lines, tests = study.summarise(table)
    line = lines.set_index("method").loc[study.OURS]
    # cases 0.85, 0.7 and 0.6; seeds 2.2 / 3 and 1.5 / 2
    assert line["Dice"] == pytest.approx(2.15 / 3)
    assert line["Dice by seed"] == "0.733 / 0.750"
    assert tests["dice"]["n"] == 3
    assert tests["dice"]["mean_difference"] == pytest.approx(2.15 / 3 - 0.5)
    assert tests["landmarks"]["mean_difference"] == pytest.approx(-1.0)
    assert tests["landmarks_ci"] == pytest.approx((-1.0, -1.0))
