"""Options follow the registry; invalid values are refused."""

from pathlib import Path

import pytest

from visagist.core.errors import ConfigError
from visagist.training.losses import LOSSES, LossOptions


@pytest.mark.parametrize("name", LOSSES.names)
def test_every_loss_has_a_weight_within_its_range(name: str) -> None:
    loss = LOSSES[name]
    options = LossOptions.model_validate({name: loss.maximum})
    assert options.weight(name) == loss.maximum
    assert name in options.active
    assert (name in options.finishing, name in options.of_swap) == (loss.finishing, loss.of_swap)
    assert name not in LossOptions.model_validate({name: 0}).active
    for value in (-0.1, loss.maximum + 0.5, float("nan"), "much"):
        with pytest.raises(ConfigError, match=name):
            LossOptions.parse({name: value}, "here")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("gan", value) for value in (-0.1, 10.5)),
        *((name, value) for name in ("true_face", "outside") for value in (-0.1, 1.5)),
        *((name, 0.5) for name in ("gan_smoothing", "gan_noise")),
        *(("gan_patch", value) for value in (4, 641, 5.5)),
        ("gan_dims", 3),
        ("gan_path", 7),
        ("masked", "perhaps"),
    ],
)
def test_nonsense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        LossOptions.parse({name: value}, "here")


def test_weights_from_which_no_face_is_learnt_are_refused() -> None:
    with pytest.raises(ConfigError, match="dssim"):
        LossOptions.parse({"dssim": 0, "absolute": 0}, "here")
    LossOptions.parse({"dssim": 0, "absolute": 0, "squared": 1}, "here")


def test_patch_is_an_eighth_of_the_face_unless_given() -> None:
    assert [LossOptions().patch(size) for size in (16, 128, 640)] == [5, 16, 80]
    assert LossOptions(gan_patch=31).patch(128) == 31
    with pytest.raises(ConfigError, match=r"80.* 64 px"):
        LossOptions(gan_patch=80).patch(64)


def test_survives_toml(tmp_path: Path) -> None:
    options = LossOptions(gan=0.1, gan_patch=24, masked=False, identity=0.03)
    options.save(tmp_path / "losses.toml")
    assert LossOptions.load(tmp_path / "losses.toml") == options


def test_losses_of_other_distributions_that_are_off_stay_out_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a run became unreadable after uninstalling a distribution with a loss it did not use."""
    others = tuple(name for name in LOSSES.names if name != "squared")
    monkeypatch.setattr(type(LOSSES), "built_in", property(lambda _: others))
    assert "squared" not in LossOptions().model_dump()
    assert LossOptions.model_validate({"squared": 2.0}).model_dump()["squared"] == 2
