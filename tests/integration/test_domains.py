"""Training over several domains, then fine-tuning on another one, by the commands."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from deepreg_meta import check, predict, train
from deepreg_meta.results.outputs import Outputs
from tests.helpers import eager, without_xla, write_yaml

SIDES = (24, 20)
META = dict(
    task="domain", inner_steps=2, tasks_per_step=2, episodes_per_epoch=2,
    outer_optimizer=dict(name="Adam", learning_rate=0.001),
)  # fmt: skip
PLAIN = dict(
    task="domain", inner_steps=1, tasks_per_step=1, episodes_per_epoch=2,
    meta_step_size=1.0, meta_step_size_end=1.0, inner_optimizer_state="carry",
    outer_optimizer=None,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def plain_graphs():
    with without_xla():
        yield


def write_images(folder: Path, seed: int, count: int, kinds=("images",)) -> str:
    """Write pictures of blobs; :return: their folder."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SIDES), indexing="ij"), axis=-1)
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            centre = np.array(SIDES) / 2 + rng.uniform(-2, 2, 2)
            blob = np.linalg.norm(grid - centre, axis=-1) < 6
            values = 120 * blob + rng.integers(0, 100, SIDES)
            if kind.endswith("labels"):
                values = 255 * blob
            name = folder / kind / f"case_{number}.png"
            Image.fromarray(values.T.astype(np.uint8)).save(name)
    return str(folder)


def content(root: Path) -> dict:
    """:return: a run over two domains, one of pairs and one of images."""
    paired = ("moving_images", "fixed_images")
    blobs = dict(
        train=write_images(root / "blobs" / "train", 1, 4),
        valid=write_images(root / "blobs" / "valid", 2, 2),
    )
    pairs = dict(train=write_images(root / "pairs", 3, 3, paired))
    return dict(
        dataset=dict(
            type="unpaired", format="png", labeled=False, image_shape=list(SIDES),
            domains=dict(
                blobs=dict(dir=blobs),
                # losses of one domain leave padding out, the other has none
                pairs=dict(dir=pairs, type="paired", weight=2.0,
                           grid=dict(fit="pad", padding="ignore")),
            ),
        ),
        train=dict(
            method="reptile", meta=META,
            backbone=dict(name="local_norm", num_channel_initial=2,
                          extract_levels=[0, 1], initial_kernel_size=3),
            loss=dict(image=dict(name="ssd"),
                      regularization=dict(name="bending_energy", weight=1.0)),
            optimizer=dict(name="Adam", learning_rate=0.005),
            preprocess=dict(batch_size=2), epochs=2,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """:return: folder of runs: `source` over the domains, then `target`."""
    root = tmp_path_factory.mktemp("domains")
    source = content(root / "data")
    words = ["--log_root", str(root), "--config", write_yaml(root / "a.yaml", source)]
    assert train.main([*words, "--log_dir", "source"]) == 0
    target = dict(
        dataset=dict(
            domains=None, labeled=True,
            dir=dict(
                train=write_images(root / "t" / "train", 4, 4, ("images", "labels")),
                test=write_images(root / "t" / "test", 5, 4, ("images", "labels")),
            ),
        ),
        train=dict(meta=PLAIN, epochs=3, save_period=[0, 1, 3]),
    )  # fmt: skip
    words += [write_yaml(root / "b.yaml", target), "--log_dir", "target"]
    words += ["--ckpt_path", str(root / "source"), "--fine-tune"]
    with eager():
        assert train.main(words) == 0
    return root


def test_the_run_over_domains_is_whole(logs):
    rows = pd.read_csv(logs / "source" / "log.csv")
    assert len(rows) == 2 and np.isfinite(rows["loss"]).all()
    assert np.isfinite(rows["val_loss_adapted"]).all()  # of `blobs`, which has some
    saved = yaml.safe_load((logs / "source" / "config.yaml").read_text())
    assert set(saved["dataset"]["domains"]) == {"blobs", "pairs"}
    described = yaml.safe_load((logs / "source" / "data.json").read_text())
    assert described["fixed"]["num_images"] == 4 + 3


def test_fine_tuning_starts_with_the_weights_alone(logs, untraced):
    names = sorted(path.stem for path in (logs / "target" / "save").glob("*.index"))
    assert names == ["ckpt-0", "ckpt-1", "ckpt-3"]
    config = (logs / "target" / "config.yaml").read_text()
    assert "started from the weights of" in config
    results = {}
    for name, path in (("source", "source"), ("zero", "target/save/ckpt-0")):
        words = ["-k", str(logs / path), "-m", "test", "--log_root", str(logs)]
        words += ["--config", str(logs / "target" / "config.yaml"), "-l", name]
        assert predict.main(words) == 0
        results[name] = pd.read_csv(logs / name / "test" / "metrics.csv", comment="#")
    same = results["source"]["loss_unadapted"], results["zero"]["loss_unadapted"]
    np.testing.assert_array_equal(*same)
    assert predict.main(
        ["-k", str(logs / "target"), "-m", "test", "--log_root", str(logs), "-l", "end"]
    ) == 0  # fmt: skip
    end = pd.read_csv(logs / "end" / "test" / "metrics.csv", comment="#")
    assert not np.array_equal(end["loss_unadapted"], same[0])


def test_checkpoints_predict_together_what_each_does_alone(logs):
    saves = [logs / "target" / "save" / f"ckpt-{epoch}" for epoch in (0, 3, 1)]
    options = dict(
        mode="test", gpu="", log_root=str(logs), outputs=Outputs(volumes=False),
        config_path=[str(logs / "target" / "config.yaml")],
    )  # fmt: skip
    together = predict.predict_checkpoints(
        {str(path): f"together_{path.name}" for path in saves}, **options
    )
    losses = []
    for path, folder in zip(saves, together, strict=True):
        assert folder == logs / f"together_{path.name}" / "test"
        with eager():  # a graph might know the weights of the checkpoint before
            alone = predict.predict(str(path), log_dir=f"alone_{path.name}", **options)
        tables = [
            pd.read_csv(one / "metrics.csv", comment="#")["loss_unadapted"]
            for one in (folder, alone)
        ]
        np.testing.assert_allclose(*tables, rtol=1e-5)
        losses.append(tables[0][0])
    assert np.abs(np.diff(losses)).min() > 1e-4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fine-tune"], "--fine-tune: expected --ckpt_path"),
        (["--fine-tune", "-k", "source", "-l", "target"], "holds a run already"),
    ],
)
def test_a_wrong_fine_tuning_is_refused(logs, words, message, caplog):
    words = [str(logs / word) if word == "source" else word for word in words]
    words += ["--config", str(logs / "target" / "config.yaml")]
    assert train.main([*words, "--log_root", str(logs)]) == 2
    assert message in caplog.text


def test_every_domain_is_checked_by_its_own_configuration(logs, tmp_path, capsys):
    words = ["--config", str(logs / "a.yaml"), "--output", str(tmp_path / "check")]
    assert check.main(words) == 0
    text = capsys.readouterr().out
    assert "blobs, train: 4 cases in" in text and "blobs, valid: 2 cases in" in text
    assert "pairs, train: 3 cases in" in text
    assert "unpaired, png" in text and "paired, png" in text
    cases = pd.read_csv(tmp_path / "check" / "cases.csv", comment="#")
    # single images are paired two by two; all pairs are scored
    numbers = cases["split"].value_counts().to_dict()
    assert numbers == {"blobs, train": 2, "blobs, valid": 1, "pairs, train": 3}
    assert cases["ncc_before"].notna().all()


def test_what_is_wrong_with_a_domain_is_told_with_its_name(tmp_path, capsys):
    config = content(tmp_path)
    (tmp_path / "pairs" / "fixed_images" / "case_1.png").unlink()
    (tmp_path / "blobs" / "valid" / "images" / "case_0.png").write_bytes(b"none")
    words = ["--fast", "--config", write_yaml(tmp_path / "c.yaml", config)]
    assert check.main(words) == 1
    text = capsys.readouterr().out
    assert "pairs, train: " in text and "expected a partner of the same name" in text
    assert "case_0.png" in text


def test_problems_of_all_domains_are_told_together(logs, tmp_path, caplog):
    config = yaml.safe_load((logs / "a.yaml").read_text())
    for name in ("blobs", "pairs"):
        config["dataset"]["domains"][name]["dir"]["train"] = str(tmp_path / name)
    words = ["--config", write_yaml(tmp_path / "c.yaml", config)]
    assert train.main([*words, "--log_root", str(tmp_path)]) == 2
    for name in ("blobs", "pairs"):
        assert f"dataset.domains.{name}.dir.train in c.yaml: expected an" in caplog.text
    for name in ("blobs", "pairs"):
        folder = write_images(tmp_path / name, 1, 3, ("moving_images", "fixed_images"))
        config["dataset"]["domains"][name] |= dict(type="paired", dir={"train": folder})
        bad = Path(folder) / "fixed_images" / "case_1.png"
        bad.write_bytes(b"no picture")
    write_yaml(tmp_path / "c.yaml", config)
    assert train.main([*words, "--log_root", str(tmp_path)]) == 2
    for name in ("blobs", "pairs"):
        assert f"{tmp_path / name}/fixed_images/case_1.png" in caplog.text
