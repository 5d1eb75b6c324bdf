"""Tests of deepreg_meta/arguments.py."""

import argparse

import pytest

from deepreg_meta import __version__, arguments
from deepreg_meta.results.outputs import Outputs


@pytest.mark.parametrize("word", ["1", "true", "True", "yes", "on", ""])
def test_words_for_true(word):
    """Upper and lower case."""
    assert arguments.parse_bool(word) is True


@pytest.mark.parametrize("word", ["0", "false", "False", "NO", "off"])
def test_words_for_false(word):
    """DeepReg takes them all for true."""
    assert arguments.parse_bool(word) is False


def test_other_words_are_refused():
    """With the word."""
    with pytest.raises(argparse.ArgumentTypeError, match="true or false, got 'maybe'"):
        arguments.parse_bool("maybe")


@pytest.fixture
def parser():
    """:return: a parser with the common arguments."""
    parser = arguments.new_parser("deepreg_test", "Does nothing.", "example: none")
    arguments.add_common_arguments(parser, config_required=True)
    return parser


@pytest.mark.parametrize("flag", ["--config", "--config_path", "-c"])
def test_files_may_be_several_under_all_three_names(parser, flag):
    """In their order."""
    assert parser.parse_args([flag, "b.yaml", "a.yaml"]).config_path == [
        "b.yaml",
        "a.yaml",
    ]


@pytest.mark.parametrize(
    ("words", "growth"),
    [
        ([], False),
        (["--gpu_allow_growth"], True),
        (["-gr", "True"], True),
        (["-gr", "False"], False),
        (["--gpu_allow_growth", "0"], False),
    ],
)
def test_allow_growth_is_a_switch_or_takes_a_word(parser, words, growth):
    """DeepReg's form, with a word after it, keeps working, and means what it says."""
    parsed = parser.parse_args(["-c", "a.yaml", *words])
    assert parsed.gpu_allow_growth is growth


def test_the_defaults_are_deepregs_but_for_the_gpu(parser):
    """None is all visible GPUs."""
    parsed = vars(parser.parse_args(["-c", "a.yaml"]))
    assert parsed == {
        "config_path": ["a.yaml"], "gpu": None, "gpu_allow_growth": False,
        "log_root": "logs", "log_dir": "",
    }  # fmt: skip
    parsed = parser.parse_args(["-c", "a.yaml", "-g", "", "-l", "run"])
    assert (parsed.gpu, parsed.log_dir) == ("", "run")


def test_the_version_names_the_package(parser, capsys):
    """Exit status 0."""
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--version"])
    assert end.value.code == 0
    assert f"deepreg_test of deepreg_meta {__version__}" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["-1", "2.5", "many", ""])
def test_steps_are_whole_and_not_negative(word):
    """With the word."""
    assert arguments.read_steps("0") == 0 and arguments.read_steps("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match=f">= 0, got '{word}'"):
        arguments.read_steps(word)


@pytest.mark.parametrize("word", ["0", "-1.5", "inf", "nan", "soon"])
def test_seconds_are_finite_and_more_than_none(word):
    """With the word."""
    assert (
        arguments.read_seconds("2") == 2.0 and arguments.read_seconds("1e-3") == 0.001
    )
    with pytest.raises(argparse.ArgumentTypeError, match=f"> 0, got '{word}'"):
        arguments.read_seconds(word)


@pytest.fixture
def pair_parser():
    """:return: a parser with what adapts and what is written."""
    parser = arguments.new_parser("deepreg_test", "Does nothing.", "example: none")
    arguments.add_adapt_arguments(parser)
    arguments.add_output_arguments(parser)
    return parser


@pytest.mark.parametrize(
    ("words", "steps", "seconds"),
    [
        ([], None, None),
        (["--adapt-steps", "8"], 8, None),
        (["--adapt_steps", "0"], 0, None),
        (["--adapt-seconds", "2.5"], None, 2.5),
        (["--adapt_seconds", "2"], None, 2.0),
    ],
)
def test_steps_or_seconds_of_adaptation_are_read(pair_parser, words, steps, seconds):
    """With a hyphen or an underscore; None follows the configuration."""
    parsed = pair_parser.parse_args(words)
    assert (parsed.adapt_steps, parsed.adapt_seconds) == (steps, seconds)


def test_steps_and_seconds_exclude_each_other(pair_parser, capsys):
    with pytest.raises(SystemExit) as end:
        pair_parser.parse_args(["--adapt-seconds", "2", "--adapt-steps", "1"])
    assert end.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Outputs()),
        (["--no_nifti"], Outputs(volumes=False, formats=())),
        (["--no_png"], Outputs(figure=False)),
        (["--inverse"], Outputs(inverse=True)),
        (
            ["--transform-format", "deepreg", "h5"],
            Outputs(formats=("deepreg", "h5")),
        ),
        (["--transform_format", "learn2reg"], Outputs(formats=("learn2reg",))),
        (["--no_png", "--save_png", "--save_nifti"], Outputs()),
    ],
)
def test_what_is_written_of_a_pair_is_read(pair_parser, words, expected):
    assert arguments.read_outputs(pair_parser.parse_args(words)) == expected


def test_figures_are_drawn_where_nobody_speaks_of_them(pair_parser):
    """`deepreg_predict` sets None for that."""
    pair_parser.set_defaults(save_png=None)
    assert arguments.read_outputs(pair_parser.parse_args([])).figure
    assert not arguments.read_outputs(pair_parser.parse_args(["--no_png"])).figure
