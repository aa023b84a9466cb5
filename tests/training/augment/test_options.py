"""Settings of the variation: ranges, and records of before."""

import pytest
from pydantic import ValidationError

from visagist.core.errors import ConfigError
from visagist.training.augment import Augmentation

LIMITS = {
    "rotate": (0, 180),
    "scale": (0, 1),
    "shift": (0, 0.5),
    "warp": (0, 0.1),
    "color": (0, 1),
    "palette": (0, 1),
    "hue": (0, 180),
    "saturation": (0, 1),
    "value": (0, 1),
    "lightness": (0, 50),
    "tint": (0, 50),
    "color_transfer_chance": (0, 1),
    "clahe_chance": (0, 1),
    "clahe_clip": (1, 40),
    "clahe_tiles": (1, 16),
    "blur_chance": (0, 1),
    "blur": (0, 0.05),
    "motion_chance": (0, 1),
    "motion": (0, 0.2),
    "rescale_chance": (0, 1),
    "rescale": (0.1, 1),
    "noise_chance": (0, 1),
    "noise": (0, 0.5),
    "jpeg_chance": (0, 1),
    "jpeg_quality": (1, 100),
    "yaw_bins": (0, 180),
}


@pytest.mark.parametrize(("name", "limits"), LIMITS.items())
def test_nonsense_is_refused_with_the_allowed_range(name: str, limits: tuple[float, float]) -> None:
    for limit, beyond in zip(limits, (limits[0] - 1, limits[1] + 1), strict=True):
        assert getattr(Augmentation.model_validate({name: limit}), name) == limit
        with pytest.raises(ConfigError, match=f"{name}: .*{limit:g}"):
            Augmentation.parse({name: beyond}, "a.toml")


def test_every_number_has_a_range() -> None:
    numbers = {name for name, field in Augmentation.model_fields.items() if type(field.default) in (int, float)}
    assert numbers == set(LIMITS)


@pytest.mark.parametrize("grids", [(), (1,), (5, 33), (5,) * 9])
def test_warp_grids_that_make_no_warp_are_refused(grids: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="warp_grids"):
        Augmentation(warp_grids=grids)


def test_an_unknown_color_transfer_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="color_transfer: must be none, rct, lct, mkl, idt or sot, not "):
        Augmentation.parse({"color_transfer": "magic"}, "a.toml")


def test_who_is_mirrored_is_one_person_everybody_or_nobody() -> None:
    flips = [Augmentation.parse({"flip": flip}, "a.toml").flip for flip in (False, True, "source", "target")]
    assert flips == [False, True, "source", "target"]  # runs of before knew the first two
    with pytest.raises(ConfigError, match="flip: must be source, target, true or false, not "):
        Augmentation.parse({"flip": "anna"}, "a.toml")


def test_settings_survive_toml() -> None:
    settings = Augmentation(warp_grids=(3, 5, 9), color_transfer="sot", flip="source", jpeg_quality=10)
    assert "warp_grids" in settings.toml()
    assert Augmentation.model_validate(settings.model_dump(mode="json")) == settings
