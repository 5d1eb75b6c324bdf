"""Tests of the plan of a study: what it refuses."""

import pytest

from deepreg_meta.config import ConfigError
from deepreg_meta.study.plan import read_plan
from deepreg_meta.study.schedule import plan_runs


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("sede: [0]", r"sede in plan1.yml: unknown key"),
        ("seeds: [-1]", r"seeds.*in plan1.yml: expected a list of integers >= 0"),
        ("seeds: []", r"seeds in plan1.yml: expected a list of integers >= 0, got"),
        ("data: {liver: {trian: x}}", r"data.liver.trian in plan1.yml: unknown key"),
        ("data: {liver: {methods: [plane]}}", r"got 'plane'. Did you mean `plain`\?"),
        ("sweeps: {lambda: {data: [lever]}}", r"sweeps.lambda.data .* got 'lever'"),
        ("sweeps: {lambda: {split: train}}", r"expected test, or valid .* got 'train'"),
        ("data: {liver: {valid: null}}", r"sweeps.lambda.split .*`valid`, got 'liver'"),
        ("sweeps: {x: {methods: [plain], data: [liver], values: {a.b: []}}}",
         r"sweeps.x.values.a.b in plan1.yml: expected a list of values"),
        ("methods: {plain: {train: {epoch: 1}}}", r"train.epoch in the plan.*`epochs`"),
        ("- a list", r"plan1.yml: expected a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_refused_by_its_key(write, plan_text, extra, message):
    with pytest.raises(ConfigError, match=message):
        plan_runs(write(plan_text, extra), "/d")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="none.yml: no such file"):
        read_plan([tmp_path / "none.yml"])
