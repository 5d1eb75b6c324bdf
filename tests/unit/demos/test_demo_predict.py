"""Tests of the demo's last step: which network it takes, and which figure it names."""

import pytest


@pytest.fixture
def demo(load_demo, monkeypatch, tmp_path):
    """Return the module, its training runs moved away from the source tree."""
    module = load_demo("meta_trus", "demo_predict")
    monkeypatch.setattr(module, "LOGS", tmp_path)
    return module


def save_checkpoint(folder, epoch):
    (folder / "save").mkdir(parents=True, exist_ok=True)
    (folder / "save" / f"ckpt-{epoch}.index").touch()


def test_the_newest_run_of_its_own_source_is_taken(demo, tmp_path):
    save_checkpoint(tmp_path / "phantom-20260101-100000", 6)
    save_checkpoint(tmp_path / "phantom-20260102-090000", 3)
    save_checkpoint(tmp_path / "real-20260103-090000", 9)
    (tmp_path / "phantom-20260104-090000").mkdir()  # has not saved anything yet
    assert demo.newest_run("phantom").name == "phantom-20260102-090000"


def test_without_a_trained_network_the_message_says_what_to_run(demo):
    with pytest.raises(FileNotFoundError, match=r"demo_train.py --source real` first"):
        demo.newest_run("real")


def test_the_figure_is_that_of_the_median_case(demo, tmp_path):
    rows = "case,dsc_adapted\na,0.95\nb,0.70\nc,0.90\nd,0.80\ne,0.85\n"
    (tmp_path / "metrics.csv").write_text(rows)
    # 0.70 0.80 [0.85] 0.90 0.95
    assert demo.typical_figure(tmp_path) == tmp_path / "e" / "figure.png"
