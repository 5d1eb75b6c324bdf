"""Trainings and predictions that are made up."""

from pathlib import Path

import pandas as pd
import yaml


class Trainer:
    """Stands in for training and prediction: writes what they would, and counts."""

    def __init__(self):
        self.trained, self.tested, self.fail_at, self.stop_after = [], [], "", None
        self.tuned = []
        self.lost_distance = 1.0  # of the second structure; None where it was lost
        self.unit = "_mm"

    def train(self, config_path, gpu, ckpt_path, log_dir, log_root, fine_tune=False):
        self.trained.append((log_dir, Path(ckpt_path).name))
        if fine_tune:
            self.tuned.append(log_dir)
            assert list(Path(ckpt_path).glob("save/*.index"))
            ckpt_path = ""
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

    def predict(self, log_dirs, mode, config_path, gpu, log_root, outputs):
        for ckpt_path, log_dir in log_dirs.items():
            yield self.test(ckpt_path, mode, config_path, log_dir, log_root, outputs)

    def test(self, ckpt_path, mode, config_path, log_dir, log_root, outputs):
        self.tested.append((Path(ckpt_path).name, log_dir, outputs.formats))
        dataset = yaml.safe_load(Path(config_path[1]).read_text())["dataset"]
        test = log_dir.split("--")[0]
        assert dataset["labeled"] and dataset["dir"]["test"] == f"/d/{test}"
        folder = Path(log_root) / log_dir / mode
        # an attempt that was killed may have left one, as a prediction's would
        folder.mkdir(parents=True, exist_ok=True)
        row = dict(case="007", seconds=0.5, folds_unadapted=0.25, mse_before=2.0,
                   mse_unadapted=1.0, jacobian_min_unadapted=-0.5)  # fmt: skip
        pd.DataFrame([row]).to_csv(folder / "metrics.csv", index=False)
        labels = [
            dict(case="007", label="x", dsc_before=0.2, dsc_unadapted=0.6,
                 hd95_before_mm=5.0, hd95_unadapted_mm=2.0),
            dict(case="007", label="y", dsc_before=0.4, dsc_unadapted=0.9,
                 hd95_before_mm=6.0, hd95_unadapted_mm=self.lost_distance),
        ]  # fmt: skip
        table = pd.DataFrame(labels).rename(
            columns=lambda c: c.replace("_mm", self.unit)
        )
        table.to_csv(folder / "labels.csv", index=False)
        return folder
