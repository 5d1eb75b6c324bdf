"""A plan, its base, and how tests write them."""

import textwrap

import pytest
import yaml

from deepreg_meta.study.schedule import Run

BASE = """
dataset:
  {type: paired, format: nifti, moving_image_shape: [8, 8], fixed_image_shape: [8, 8]}
align: corner
train:
  method: reptile
  backbone: {name: voxelmorph2}
  loss: {image: {name: ssd}, regularization: {name: gradient_norm, weight: 0.1}}
  optimizer: {name: Adam, learning_rate: 1.0e-3}
  epochs: 2
"""
SHORT = {"train": {"epochs": 4, "method": "reptile"}, "dataset": {"type": "paired"}}
PLAN = """
base: [base.yaml]
config: {train: {epochs: 3}}
methods:
  plain: {}
  wide: {train: {backbone: {num_channel_initial: 32}, epochs: 5}}
data:
  liver: {train: liver/train, valid: liver/valid, tests: {a: liver/a, b: liver/b}}
  chest:
    train: chest/train
    tests: {chest: chest/test}
    methods: [wide]
    config: {dataset: {format: png}}
seeds: [0, 4]
sweeps:
  lambda:
    methods: [plain]
    data: [liver]
    values:
      train.loss.regularization.weight: [0.5, 2]
      train.loss.regularization.l1: [false, true]
    seeds: [7]
    split: valid
    config: {train: {epochs: 1}}
"""


@pytest.fixture
def write(tmp_path):
    """:return: a function that writes a plan and its base, and returns the files."""
    (tmp_path / "base.yaml").write_text(BASE)

    def write(*texts):
        files = []
        for number, text in enumerate(texts):
            files.append(tmp_path / f"plan{number}.yml")
            files[-1].write_text(textwrap.dedent(text))
        return files

    return write


@pytest.fixture
def plan_text():
    """:return: the plan."""
    return PLAN


@pytest.fixture
def runs(tmp_path):
    """:return: two runs of two methods, with two test sets."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(SHORT))
    return [
        Run(method=name, data="liver", seed=1, files=(str(tmp_path / "base.yaml"),),
            overrides={"train": {"seed": 1}}, tests={"a": "/d/a", "b": "/d/b"},
            test_config={"dataset": {"labeled": True}})
        for name in ("plain", "layer")
    ]  # fmt: skip
