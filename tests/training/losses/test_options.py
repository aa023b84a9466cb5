"""Which weights there are, and that nonsense is refused with the range."""

from pathlib import Path

import pytest

from visagist.core.errors import ConfigError
from visagist.training.losses import LossOptions, options

DEFAULTS = {"dssim": 1, "absolute": 1, "edges": 1, "mask": 0.5, "eyes_mouth": 8, "outside": 0.05}
OFF = ("squared", "focal_frequency", "face_style", "background_style", "identity", "gan", "true_face")


def test_defaults_are_what_runs_were_trained_with() -> None:
    chosen = LossOptions()
    assert chosen.masked
    assert {name: getattr(chosen, name) for name in DEFAULTS} == DEFAULTS
    assert not any(getattr(chosen, name) for name in OFF)
    assert not chosen.styles


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("dssim", -0.1, "0"),
        ("dssim", 100.5, "100"),
        ("dssim", "much", "number"),
        ("identity", 10.5, "10"),
        ("true_face", 1.5, "1"),
        ("gan_noise", 0.5, "0.5"),
        ("gan_patch", 4, "5"),
        ("gan_dims", 513, "512"),
        ("finish", 0, "0"),
        ("masked", "perhaps", "boolean"),
    ],
)
def test_values_beyond_the_range_are_refused_with_the_limit(name: str, value: float, limit: str) -> None:
    with pytest.raises(ConfigError, match=f"test: {name}: .*{limit}.*, not {value}$"):
        LossOptions.parse({name: value}, "test")


def test_weights_from_which_no_face_is_learnt_are_refused() -> None:
    with pytest.raises(ConfigError, match="one of dssim, absolute, squared and focal_frequency"):
        LossOptions.parse({"dssim": 0, "absolute": 0}, "test")
    LossOptions.parse({"dssim": 0, "absolute": 0, "squared": 1}, "test")


def test_patch_is_an_eighth_of_the_face_unless_given() -> None:
    assert [LossOptions().patch(size) for size in (16, 128, 640)] == [5, 16, 80]
    assert LossOptions(gan_patch=31).patch(128) == 31
    with pytest.raises(ConfigError, match="larger than the faces, 64 px; give 5 to 64"):
        LossOptions(gan_patch=80).patch(64)


def test_survives_toml(tmp_path: Path) -> None:
    for chosen in (LossOptions(), LossOptions(gan=0.1, gan_patch=24, masked=False)):
        chosen.save(tmp_path / "losses.toml")
        assert LossOptions.load(tmp_path / "losses.toml") == chosen


def test_every_option_says_what_it_does() -> None:
    text = Path(options.__file__).read_text(encoding="utf-8")
    for name in LossOptions.model_fields:
        line = text.index(f"    {name}: ")
        assert '"""' in text[line:].split("\n")[1], name
