"""Usage errors end with exit code 2 and one line that names the option, or the file and its field."""

from pathlib import Path

import pytest

from visagist.cli import main
from visagist.core.device import select_device
from visagist.core.errors import ConfigError

TRAIN = ("train", "a", "b", "-o", "c")
CONSENT = ("--source-consent", "a.toml", "--target-consent", "b.toml")
SWAP, MERGE = ("swap", "a", "b", "-o", "c.mp4", *CONSENT), ("merge", "a", "-o", "c.mp4", *CONSENT)
EVALUATE = ("evaluate", "a", "--target", "b", "--source", "c")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def assert_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str | Path, ...], *facts: str) -> None:
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("visagist: ")
    assert "alue error" not in line  # the validators' own words about themselves
    for fact in facts:
        assert fact in line, line


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (("swap",), ["source"]),
        (("nonsense",), ["nonsense"]),
        (("extract", "x.mp4", "--nonsense", "1"), ["--nonsense"]),
        (("extract", "x.mp4", "-o", "c", "--min-chnage", "1"), ["--min-chnage", "--min-change"]),
        (("extract", "x.mp4", "-o", "c", "--min-size", "inf"), ["--min-size", "inf"]),
        ((*MERGE, "--run", "r", "--min-score", "nan"), ["--min-score", "nan"]),
        ((*MERGE, "--frames", "5"), ["--frames", "'5'", "A-B"]),
        ((*MERGE, "--preview", "5-"), ["--preview", "5-", "5,10-12"]),
        ((*MERGE, "--color", "blue"), ["--color", "blue", "'reinhard'"]),
        ((*MERGE, "--mask", "all"), ["--mask", "all", "'combined', 'hull'"]),
        ((*EVALUATE, "--report", "page.txt"), ["--report", "page.txt", ".html"]),
        (("demo", "--iterations", "0"), ["--iterations", '"0"', "1"]),
        (SWAP[:-2], ["--target-consent", "visagist consent new"]),
        ((*SWAP[:-2], "--traget-consent", "b.toml"), ["--traget-consent", "--target-consent"]),
        (
            ("consent", "new", "a.toml", "--name", "A", "--basis", "self", "--statement", "s", "--scope", "s"),
            ["--adult"],
        ),
    ],
)
def test_option_value_and_limits_are_named(
    arguments: tuple[str, ...], facts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_wrong_usage(capsys, arguments, *facts)


@pytest.mark.parametrize("command", [MERGE, SWAP])
@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (("--crf", "99"), "51"),
        (("--crf", "-1"), "0"),
        (("--encoder-preset", "warp"), "ultrafast"),
        (("--codec", "av1"), "prores"),
        (("--codec", "prores", "--crf", "4"), "h264"),
    ],
)
def test_impossible_encodings_are_refused_before_the_work(
    command: tuple[str, ...], options: tuple[str, ...], allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_wrong_usage(capsys, (*command, *options), options[-2], allowed)


@pytest.mark.parametrize("device", ["cpu:x", "cpu:1", "gpu", "cuda:", "cuda:x"])
def test_a_malformed_device_is_a_usage_error(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (TRAIN, MERGE, EVALUATE, ("demo",)):
        assert_wrong_usage(capsys, (*command, "--device", device), "--device", device, "cuda:N")
    with pytest.raises(ConfigError, match=device):
        select_device(device)


@pytest.mark.parametrize("command", [TRAIN, SWAP])
@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ('[losses]\ngan = "much"', ["losses.gan", "number", "much"]),
        ("[losses]\ngan = 50", ["losses.gan", "10", "50"]),
        ("[losses]\ndssim = 0\nabsolute = 0", ["losses", "dssim, absolute"]),
        ("[losses]\ngan = 0.1\ngan_patch = 131", ["losses.gan_patch", "131", "128"]),
        ("[losses]\ngann = 1", ["losses", "gann", "gan"]),
        ("[settings]\nlatnt = 64", ["settings", "latnt", "latent"]),
        ('until = "boredom"', ["until", "'end' or 'plateau'", "boredom"]),
        ('device = "gpu"', ["device", "gpu"]),
        ("losses = 3", ["losses", "table", "3"]),
        ("[batch]\nsize = 3", ["batch", "size"]),
        ("learning_rat = 0.1", ["learning_rat", "Did you mean --learning-rate?"]),
    ],
)
def test_errors_of_a_file_name_the_file(
    command: tuple[str, ...], content: str, facts: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(content)
    assert_wrong_usage(capsys, (*command, "--seed", "1", "--config", config), str(config), *facts)


def test_conflicts_within_a_file_name_the_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("iterations = 3\nminutes = 3")
    assert_wrong_usage(capsys, (*TRAIN, "--config", config), f"{config}: give iterations or minutes")


def test_errors_of_an_option_name_the_option_despite_a_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[losses]\ngan = 0.1\nedges = 2")
    assert_wrong_usage(capsys, (*TRAIN, "--losses.gan", "50", "--config", config), "visagist: --losses.gan: ", "50")


@pytest.mark.parametrize(("name", "entry"), [("settings", "latent"), ("others", "anna"), ("losses", "gan")])
def test_one_value_for_a_table_is_refused_beside_options_of_that_table(
    name: str, entry: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was once dropped silently."""
    config.write_text(f'{name} = "ud"')
    assert_wrong_usage(capsys, (*TRAIN, f"--{name}.{entry}", "1", "--config", config), f"{config}: {name}", "table")


def test_the_file_of_another_command_is_named_with_an_option_that_is_unknown_here(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('footage = ["clips"]\noutput = "faces"\n')
    assert_wrong_usage(capsys, ("swap", "a", "b", "-o", "c.mp4", "--config", config), str(config), "footage")


def test_missing_or_broken_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "--config", str(config)]) == 1
    assert str(config) in capsys.readouterr().err
    config.write_text("a = = 3")
    assert main(["extract", "--config", str(config)]) == 1
    assert str(config) in capsys.readouterr().err
