"""Tests of deepreg_meta/model/precision.py, as on a machine without a GPU."""

import pytest
import tensorflow as tf

from deepreg_meta.model.precision import advise, check_precision


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda *_: [])


@pytest.fixture
def cpu_info(tmp_path):
    def write(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor : 0\nflags\t\t: fpu {flags}\n\nprocessor : 1\n")
        return path

    return write


def test_float32_needs_no_advice(cpu_info):
    assert advise("float32", cpu_info("avx2")) is None


def test_half_precision_is_for_gpus(cpu_info, monkeypatch):
    with pytest.raises(ValueError, match="train.precision: expected float32 or mixed"):
        check_precision("mixed_float16")
    check_precision("mixed_bfloat16")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda *_: ["a GPU"])
    check_precision("mixed_float16")
    assert advise("mixed_bfloat16", cpu_info("avx2")) is None


@pytest.mark.parametrize(
    ("flags", "is_slow"),
    [("avx2 avx512f", True), ("avx512f avx512_bf16", False), ("amx_bf16", False)],
)
def test_bfloat16_needs_its_instructions(cpu_info, flags, is_slow):
    advice = advise("mixed_bfloat16", cpu_info(flags))
    assert (advice is not None) == is_slow
    assert not is_slow or "no instructions" in advice


def test_nothing_is_said_where_nothing_is_known(tmp_path):
    assert advise("mixed_bfloat16", tmp_path / "none") is None
