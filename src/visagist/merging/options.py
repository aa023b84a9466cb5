"""Options for merging."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator

from visagist.core.settings import Settings, shown
from visagist.core.types import Use
from visagist.media import DEFAULT_RATE, FrameRate
from visagist.merging.color import COLOR
from visagist.merging.masks import MASKS

if TYPE_CHECKING:
    ColorName = str
    MaskName = str
else:
    ColorName = COLOR.choice
    MaskName = MASKS.choice


class MergeOptions(Settings):
    """How the predicted face is composited into the frame."""

    group = "Merging"

    mask: Annotated[MaskName, shown(first=True)] = "combined"
    """Where the face is replaced: inside the landmark hull, inside the mask that the network learned, or where both
    agree."""

    masks: Annotated[Literal["segmentation", "hull"], shown(first=True)] = "segmentation"
    """Keep hands, hair, glasses and whatever else a segmentation network finds in front of the face, and the background
    beside it; or replace all of the mask above."""

    mask_erode: Annotated[float, Field(ge=-20, le=40), shown(unit="% of the crop's side")] = -1.5
    """Shrink the landmark hull; negative values grow it."""

    mask_feather: Annotated[float, Field(ge=0, le=40), shown(first=True, unit="% of the crop's side")] = 2.7
    """Width of the mask's soft edge."""

    mask_forehead: Annotated[float, Field(ge=0, le=1)] = 0.3
    """How much of the forehead is replaced: 0 stops just above the brows, 1 reaches the hairline. Use less under a
    fringe."""

    color: Annotated[ColorName, shown(first=True)] = "reinhard"
    """Colour transfer from the frame to the predicted face."""

    frames: Annotated[str | None, shown(first=True)] = None
    """Merge only these frames of the target: A-B, counted from 0, both included."""

    subject: str = "source"
    """Name of the subject whose face will appear, for runs trained with `--others`."""

    morph: Annotated[float, Field(ge=0, le=1)] | None = None
    """Blend between the performer's own face (0) and the subject's (1); for runs of the model `amp` only."""

    rate: Annotated[FrameRate, shown("Input footage", unit="frames per second")] = DEFAULT_RATE
    """Frame rate of image sequences, which state none: 24, 23.976, or a fraction such as 30000/1001."""

    min_score: FiniteFloat = 0.0
    """Leave a frame unchanged if the presence score of its landmarks (a logit) is below this."""

    target_identity: Annotated[int | None, shown("Choosing people", first=True)] = None
    """Number of the performer, if TARGET shows several people. Without a choice, the command writes `people.png` with
    their numbers."""

    target_reference: Annotated[Path | None, shown("Choosing people", first=True)] = None
    """A picture of the performer, instead of the number."""

    matte: Path | None = None
    """Folder for the alpha matte, written as a 16-bit grey PNG per frame."""

    deinterlace: Annotated[bool, shown("Input footage")] = False
    """Deinterlace interlaced footage."""

    allow_no_face: Annotated[bool, shown("Input footage")] = False
    """Copy the target unchanged if the performer is in none of its frames, instead of failing."""

    allow_damaged: Annotated[bool, shown("Input footage")] = False
    """Continue without the frames of a damaged target that cannot be decoded, instead of failing."""

    use: Annotated[Use | None, shown("Consent")] = None
    """What the render is for, such as film or dubbing: needed if a consent record allows certain uses only. The
    credentials state it."""

    @field_validator("frames")
    @classmethod
    def _range(cls, value: str | None) -> str | None:
        if value is not None:
            frame_range(value)
        return value


def frame_range(text: str | None) -> tuple[int, int | None]:
    """First and last frame of `A-B`; `(0, None)` for None.

    Raises:
        ValueError: not of that form, or B before A.

    >>> frame_range("10-20"), frame_range("7-7"), frame_range(None)
    ((10, 20), (7, 7), (0, None))
    """
    if text is None:
        return 0, None
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if match is None or int(match[2]) < int(match[1]):
        raise ValueError(f"'{text}' is not a range of frames A-B with A no greater than B")
    return int(match[1]), int(match[2])
