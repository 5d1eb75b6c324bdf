"""Tests of deepreg_meta/study/example.py, with predictions that are made up."""

from dataclasses import replace
from pathlib import Path

from deepreg_meta.study.example import draw_examples
from deepreg_meta.study.folder import LAST, run_folder


def test_pages_are_drawn_once_by_runs_that_have_their_weights(runs, tmp_path):
    calls = []

    def predict(log_dirs, mode, config_path, gpu, log_root, outputs):
        [(ckpt_path, log_dir)] = log_dirs.items()
        calls.append((Path(ckpt_path).name, log_dir, outputs.figure))
        folder = Path(log_root) / log_dir / mode / "pair"
        folder.mkdir(parents=True)
        (folder / "figure.png").write_text(log_dir)
        return [folder.parent]

    own = [replace(run, adaptations={"five": {"steps": 5}}) for run in runs]
    save = run_folder(own[0], tmp_path) / "save"
    save.mkdir(parents=True)
    (save / "ckpt-1.index").touch()
    wanted = [
        (method, adaptation, LAST)
        for method, adaptation in (
            ("plain", "five"), ("layer", "five"), ("plain", "ten"), ("no", "five")
        )
    ]  # fmt: skip
    wanted.append(("plain", "five", 1))
    arguments = own, wanted, tmp_path / "pair", tmp_path, tmp_path / "figures", predict
    assert draw_examples(*arguments, draws=False) == {} and not calls
    pages = draw_examples(*arguments)
    # the other run has no weights, the others are not in the plan
    assert list(pages) == ["plain, five", "plain, five, 1 epochs"]
    assert pages["plain, five"].read_text() == "example--five"
    assert calls == [
        (own[0].name, "example--five", True),
        ("ckpt-1", "example--five--epoch1", True),
    ]
    assert draw_examples(*arguments) == pages and len(calls) == 2
