"""What a user may choose about the variation of faces.

- `Augmentation`: how far each variation goes, and to which part of the faces it happens

Everything that an earlier visagist did not have is off by default: it then draws no random numbers, and a run is what
it was.
"""

from typing import Annotated, Literal

from pydantic import Field

from visagist.core.settings import Settings

ColorTransfer = Literal["none", "rct", "lct", "mkl", "idt", "sot"]
Chance = Annotated[float, Field(ge=0, le=1)]
GridSize = Annotated[int, Field(ge=2, le=32)]


class Augmentation(Settings):
    """How far faces are varied in training."""

    rotate: Annotated[float, Field(ge=0, le=180)] = 3.0
    """Degrees by which a face is turned at most, either way; 0 to 180."""

    scale: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Part by which a face is made larger or smaller at most; 0 to 1 (twice or half the size)."""

    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Part of the face's side by which it is shifted at most, each way; 0 to 0.5."""

    warp: Annotated[float, Field(ge=0, le=0.1)] = 0.014
    """Strength of the random warp: standard deviation of a control point of a 5x5 grid, as a part of the side; 0 to
    0.1. It is what makes a decoder draw its own person; a run ends without it."""

    warp_grids: Annotated[tuple[GridSize, ...], Field(min_length=1, max_length=8)] = (5,)
    """Control points a side of the random warp, 2 to 32. Give it several times, and each face draws one of them: 3, 5
    and 9 suit long trainings of people whose faces differ in shape. Finer grids bend eyes and lips by themselves (by
    less: the strength is the same part of a cell), coarser ones the whole head."""

    flip: Literal["source", "target"] | bool = False
    """Mirror half of the faces, by chance: source or target (that person's alone), or true (everybody's). The source's
    where it is seen from one side and the target also from the other: a parting, a mole, a crooked smile are lost. The
    target's where it has few crops: what the performer does with one side only is then learnt less well."""

    color: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Standard deviation of each colour channel's gain and offset, as a part of full scale; 0 to 1."""

    palette: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far a face takes on the other person's colours at most; 0 (not at all) to 1 (all the way)."""

    hue: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees by which the hue of what the network sees is turned at most, either way; 0 to 180. A few (5) where light
    of several colours falls on the faces; more makes skin that nobody has."""

    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part by which the saturation of what the network sees is raised or lowered at most; 0 to 1 (twice or half). Where
    one side's footage is graded and the other's is not."""

    value: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part by which the brightness of what the network sees is raised or lowered at most; 0 to 1 (twice or half). Where
    exposure changes from shot to shot."""

    lightness: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Steps of CIE L* (black is 0, white is 100) by which what the network sees is made lighter or darker at most; 0 to
    50. Evener to the eye than value, and shadows change too."""

    tint: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Steps of CIE a* and b* (each about -100 to 100) by which what the network sees is tinted at most; 0 to 50. For
    white balances that differ; 5 to 10 are usual differences."""

    color_transfer: ColorTransfer = "none"
    """Give what the network sees the colours of a random face of the other person (of several people: of the next one),
    hull by hull: rct (mean and deviation
    in CIE Lab), lct (mean and covariance in RGB), mkl (the same, with the least change of colours),
    idt (the whole distribution of colours) or sot (the same, smoother, slower). Instead of the palette, where the two
    sides' light differs much or changes within the footage. Start with rct or mkl; idt and sot also match highlights
    and shadows, may make grain, and cost time."""

    color_transfer_chance: Chance = 1.0
    """Part of the faces whose colours are transferred, 0 to 1; the others keep to the palette. Half is a fair choice
    where faces of the other side are lit unusually."""

    clahe_chance: Chance = 0.0
    """Part of the faces whose local contrast is raised (CLAHE), 0 to 1. Where flat light on one side meets hard light
    on the other; a half is much."""

    clahe_clip: Annotated[float, Field(ge=1, le=40)] = 3.0
    """How much CLAHE may steepen contrast at most, 1 (hardly) to 40; each face draws between 1 and this."""

    clahe_tiles: Annotated[int, Field(ge=1, le=16)] = 4
    """Tiles a side within which CLAHE looks at contrast, 1 (the whole face) to 16. More bring out finer shadows."""

    blur_chance: Chance = 0.0
    """Part of the faces that are seen out of focus, 0 to 1; drawn sharp all the same. Where the target is soft or is
    racked in and out of focus: the swap then stays sharp when the performer is not."""

    blur: Annotated[float, Field(ge=0, le=0.05)] = 0.01
    """Standard deviation of that blur at most, as a part of the side; 0 to 0.05."""

    motion_chance: Chance = 0.0
    """Part of the faces that are seen smeared by a movement in a random direction, 0 to 1. Where the performer moves
    fast."""

    motion: Annotated[float, Field(ge=0, le=0.2)] = 0.05
    """Length of that movement at most, as a part of the side; 0 to 0.2."""

    rescale_chance: Chance = 0.0
    """Part of the faces that are seen as if they had been small in the frame and were enlarged, 0 to 1. Where the
    performer is also far away."""

    rescale: Annotated[float, Field(ge=0.1, le=1)] = 0.4
    """Smallest size of those faces, as a part of the side; 0.1 to 1."""

    noise_chance: Chance = 0.0
    """Part of the faces that are seen with noise, 0 to 1. For footage of high sensitivity or with film grain."""

    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.04
    """Standard deviation of that noise at most, as a part of full scale; 0 to 0.5."""

    jpeg_chance: Chance = 0.0
    """Part of the faces that are seen with the blocks of a strong compression, 0 to 1. For footage from the web."""

    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 30
    """Lowest quality of that compression, by the scale of JPEG writers; 1 to 100."""

    yaw_bins: Annotated[int, Field(ge=0, le=180)] = 0
    """Draw crops so that each of this many equal steps of yaw between -90 and 90 degrees that has crops is drawn
    equally often, 1 to 180; 0 draws all crops equally often. 18 (of 10 degrees) where profiles are rare among the
    crops but matter in the target; sort out false profiles first, they are drawn often too."""
