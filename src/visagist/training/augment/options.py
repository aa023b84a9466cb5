"""Options of the augmentation. What is off by default draws no random numbers."""

from typing import Annotated, Literal

from pydantic import Field

from visagist.core.settings import Settings

ColorTransfer = Literal["none", "rct", "lct", "mkl", "idt", "sot"]
Chance = Annotated[float, Field(ge=0, le=1)]
GridSize = Annotated[int, Field(ge=2, le=32)]


class Augmentation(Settings):
    """How far faces are varied in training."""

    rotate: Annotated[float, Field(ge=0, le=180)] = 3.0
    """Maximum rotation in degrees, either way; 0 to 180."""

    scale: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Maximum change of size; 0 to 1 (half to twice the size)."""

    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Maximum shift in each direction, as a fraction of the side; 0 to 0.5."""

    warp: Annotated[float, Field(ge=0, le=0.1)] = 0.014
    """Strength of the random warp: standard deviation of the control points of a 5x5 grid, as a fraction of the side; 0
    to 0.1. The warp makes each decoder reconstruct its own identity; it fades out at the end of a run."""

    warp_grids: Annotated[tuple[GridSize, ...], Field(min_length=1, max_length=8)] = (5,)
    """Control points per side of the random warp, 2 to 32. If given several times, each face draws one of them: 3, 5
    and 9 suit long trainings of people whose faces differ in shape. Coarse grids bend the whole head, fine ones eyes
    and lips (by less: the strength is the same fraction of a cell)."""

    flip: Literal["source", "target"] | bool = False
    """Mirror a random half of the faces: source or target (only that identity), or true (all). Mirror the source if it
    is seen from one side and the target also from the other, at the cost of partings, moles and crooked smiles; the
    target if it has few crops, at the cost of what the performer does with one side only."""

    color: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Standard deviation of each colour channel's gain and offset, as a fraction of full scale; 0 to 1."""

    palette: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far a face may take on the average colours of the other identity; 0 (not at all) to 1 (completely)."""

    hue: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Maximum change of hue in degrees, either way; 0 to 180. A few (5) for faces lit in several colours; more gives
    unnatural skin."""

    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Maximum change of saturation; 0 to 1 (half to twice). For footage of which one side is graded."""

    value: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Maximum change of brightness; 0 to 1 (half to twice). For exposure that varies between shots."""

    lightness: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Maximum change of CIE L* (black is 0, white is 100); 0 to 50. Perceptually more even than value; changes shadows
    too."""

    tint: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Maximum change of CIE a* and b* (each about -100 to 100); 0 to 50. For different white balances, usually 5 to
    10."""

    color_transfer: ColorTransfer = "none"
    """Give the network's input the colours of a random face of the other identity (with several identities: of the next
    one): rct (mean and deviation in CIE Lab), lct (mean and covariance in RGB), mkl (the same, changing colours least),
    idt (the whole distribution) or sot (the same, smoother and slower). Replaces the palette where light differs much
    or varies within the footage. Start with rct or mkl; idt and sot also match highlights and shadows, but may add
    grain and take time."""

    color_transfer_chance: Chance = 1.0
    """Fraction of faces whose colours are transferred, 0 to 1; the others use the palette. Try 0.5 if the other
    identity is unusually lit."""

    clahe_chance: Chance = 0.0
    """Fraction of faces whose local contrast is raised (CLAHE), 0 to 1. For flat light on one side and hard light on
    the other; 0.5 is a lot."""

    clahe_clip: Annotated[float, Field(ge=1, le=40)] = 3.0
    """Maximum contrast gain of CLAHE, 1 (hardly any) to 40; each face draws between 1 and this."""

    clahe_tiles: Annotated[int, Field(ge=1, le=16)] = 4
    """CLAHE's tiles per side, 1 (the whole face) to 16. More bring out finer shadows."""

    blur_chance: Chance = 0.0
    """Fraction of faces that are seen out of focus but predicted sharp, 0 to 1. For soft or refocused target footage:
    the swap stays sharp."""

    blur: Annotated[float, Field(ge=0, le=0.05)] = 0.01
    """Maximum standard deviation of the blur, as a fraction of the side; 0 to 0.05."""

    motion_chance: Chance = 0.0
    """Fraction of faces with motion blur in a random direction, 0 to 1. For performers who move fast."""

    motion: Annotated[float, Field(ge=0, le=0.2)] = 0.05
    """Maximum length of the motion blur, as a fraction of the side; 0 to 0.2."""

    rescale_chance: Chance = 0.0
    """Fraction of faces that are reduced and enlarged again, 0 to 1. For performers who are sometimes far away."""

    rescale: Annotated[float, Field(ge=0.1, le=1)] = 0.4
    """Minimum size of reduced faces, as a fraction of the side; 0.1 to 1."""

    noise_chance: Chance = 0.0
    """Fraction of faces with noise, 0 to 1. For high sensitivity or film grain."""

    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.04
    """Maximum standard deviation of the noise, as a fraction of full scale; 0 to 0.5."""

    jpeg_chance: Chance = 0.0
    """Fraction of faces with JPEG artefacts, 0 to 1. For footage from the web."""

    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 30
    """Minimum JPEG quality; 1 to 100."""

    driven: Chance = 0.0
    """Fraction of faces whose input has the skin, brows, beard and face shape of the other identity (with several
    identities: of the next one), driven by their own landmarks; 0 to 1. The network learns to ignore whose face it
    sees: the swap keeps less of the target, and turned heads come out cleaner. Use 0.5 if the two look very different;
    if they look alike, it only costs time and a smooth seam. Fades out with the random warp."""

    yaw_bins: Annotated[int, Field(ge=0, le=180)] = 0
    """Draw crops equally often from each of this many equal intervals of yaw between -90 and 90 degrees, 1 to 180; 0
    draws all crops equally often. Use 18 (10 degrees each) if profiles are rare among the crops but matter in the
    target; sort out false profiles first."""
