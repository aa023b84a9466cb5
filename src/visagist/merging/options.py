"""Options of a merge."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat, field_validator

from visagist.core.settings import Settings
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
    """How the predicted face goes into the frame."""

    mask: MaskName = "combined"
    """Where the face is replaced: inside the landmark hull, inside the mask that the network learned, or both."""

    mask_erode: Annotated[float, Field(ge=-20, le=40)] = -1.5
    """Pull the landmark hull in by so many per cent of the crop's side; negative pushes it out."""

    mask_feather: Annotated[float, Field(ge=0, le=40)] = 2.7
    """Width of the mask's soft edge, in per cent of the crop's side."""

    mask_forehead: Annotated[float, Field(ge=0, le=1)] = 0.3
    """How much of the forehead is replaced: 1 to the hairline, 0 hardly more than the brows; a fringe wants less."""

    color: ColorName = "reinhard"
    """How the predicted face takes on the colours of the frame."""

    frames: str | None = None
    """Only these frames of the target, A-B, counted from 0, both included."""

    person: str = "source"
    """Whose face appears, by name, where the run was trained on more people than source and target."""

    morph: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much of that person's face appears, from 0 (the performer's own) to 1; for runs of `amp` only."""

    rate: FrameRate = DEFAULT_RATE
    """Frames a second of image sequences, which state none: 24, 23.976, or a fraction such as 30000/1001."""

    min_score: FiniteFloat = 0.0
    """Leave a frame as it is when the landmarks' presence score (a logit) is below this."""

    performer: int | None = None
    """Which person in the target is meant, by the number that the list of several people gives."""

    performer_reference: Path | None = None
    """A picture of the performer that is meant, where the target shows several people."""

    matte: Path | None = None
    """Also write the alpha matte, a grey 16-bit PNG a frame, into this folder."""

    deinterlace: bool = False
    """Deinterlace an interlaced target."""

    allow_no_face: bool = False
    """Pass a target through untouched when the performer is in no frame of it."""

    allow_damaged: bool = False
    """Go on without the frames of a damaged target that cannot be decoded."""

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
