"""Options of the augmentation."""

from typing import Annotated, Literal

from pydantic import Field

from visagist.core.settings import Settings, shown

ColorTransfer = Literal["none", "rct", "lct", "mkl", "idt", "sot"]
Chance = Annotated[float, Field(ge=0, le=1)]
GridSize = Annotated[int, Field(ge=2, le=32)]


class Augmentation(Settings):
    """Random variations of the faces in training. The side is that of the face crop."""

    group = "Augmentation"

    rotate: Annotated[float, Field(ge=0, le=180), shown(unit="degrees")] = 3.0
    """Maximum rotation, either way."""

    scale: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Maximum change of size; 1 is half to twice the size."""

    shift: Annotated[float, Field(ge=0, le=0.5), shown(unit="of the side")] = 0.01
    """Maximum shift in each direction."""

    warp: Annotated[float, Field(ge=0, le=0.1), shown(unit="of the side")] = 0.014
    """Strength of the random warp: standard deviation of the control points of a 5x5 grid. The warp makes each decoder
    reconstruct its own identity; it fades out at the end of a run."""

    warp_grids: Annotated[tuple[GridSize, ...], Field(min_length=1, max_length=8)] = (5,)
    """Control points per side of the random warp; if repeated, each face draws one of the values. 3, 5 and 9 suit long
    trainings of people whose faces differ in shape. Coarse grids bend the whole head, fine ones eyes and lips, in
    proportion to the cell size."""

    flip: Literal["source", "target"] | bool = False
    """Mirror a random half of the faces of one identity (`source`, `target`) or of all (`true`). Mirror the source if
    it is filmed from one side and the target from both; this blurs partings, moles and crooked smiles. Mirror the
    target if it has few crops; this loses one-sided expressions."""

    color: Annotated[float, Field(ge=0, le=1), shown(unit="of full scale")] = 0.05
    """Standard deviation of each colour channel's gain and offset."""

    palette: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far a face may take on the average colours of the other identity; 1 is completely."""

    hue: Annotated[float, Field(ge=0, le=180), shown(unit="degrees")] = 0.0
    """Maximum change of hue, either way. Try 5 for faces lit in several colours; more gives unnatural skin."""

    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Maximum change of saturation; 1 is half to twice. Use it if only one of the two is colour-graded."""

    value: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Maximum change of brightness; 1 is half to twice. For exposure that varies between shots."""

    lightness: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Maximum change of CIE L* (0 is black, 100 white). Perceptually more even than `value`; changes shadows too."""

    tint: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Maximum change of CIE a* and b* (each about -100 to 100). Try 5 to 10 for different white balances."""

    color_transfer: ColorTransfer = "none"
    """Give the network's input the colours of a random face of the other identity (of the next one, if there are
    several). Replaces the palette if the light differs much or varies within the footage. Start with `rct` (mean and
    deviation in CIE Lab) or `mkl` (mean and covariance in RGB, changing colours as little as possible; `lct` without
    that). `idt` and `sot` match the whole distribution, with highlights and shadows, but are slow and may add grain;
    `sot` is the smoother and slower one."""

    color_transfer_chance: Chance = 1.0
    """Fraction of faces whose colours are transferred; the others use the palette. Try 0.5 if the other identity is
    unusually lit."""

    clahe_chance: Chance = 0.0
    """Fraction of faces whose local contrast is raised (CLAHE). For flat light on one side and hard light on the other;
    0.5 is a lot."""

    clahe_clip: Annotated[float, Field(ge=1, le=40)] = 3.0
    """Maximum contrast gain of CLAHE; each face draws a value between 1 and this."""

    clahe_tiles: Annotated[int, Field(ge=1, le=16)] = 4
    """CLAHE tiles per side. More tiles bring out finer shadows."""

    blur_chance: Chance = 0.0
    """Fraction of faces that are blurred in the input but not in the ground truth. For target footage that is soft or
    changes focus: the swap stays sharp."""

    blur: Annotated[float, Field(ge=0, le=0.05), shown(unit="of the side")] = 0.01
    """Maximum standard deviation of the blur."""

    motion_chance: Chance = 0.0
    """Fraction of faces with motion blur in a random direction. For performers who move fast."""

    motion: Annotated[float, Field(ge=0, le=0.2), shown(unit="of the side")] = 0.05
    """Maximum length of the motion blur."""

    rescale_chance: Chance = 0.0
    """Fraction of faces that are downscaled and upscaled again. For performers who are sometimes far from the
    camera."""

    rescale: Annotated[float, Field(ge=0.1, le=1), shown(unit="of the side")] = 0.4
    """Minimum size of downscaled faces."""

    noise_chance: Chance = 0.0
    """Fraction of faces with noise. For high ISO or film grain."""

    noise: Annotated[float, Field(ge=0, le=0.5), shown(unit="of full scale")] = 0.04
    """Maximum standard deviation of the noise."""

    jpeg_chance: Chance = 0.0
    """Fraction of faces with JPEG artefacts. For footage from the web."""

    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 30
    """Minimum JPEG quality."""

    driven: Chance | None = None
    """Fraction of faces that are driven by landmarks: the network sees the skin, brows, beard and face shape of the
    other identity (of the next one, if there are several) with the face's own eyes, mouth and pose, and faces of the
    source also take on expressions of the target. So it learns to ignore the identity of its input, and the source to
    make faces that its footage lacks. By default 0.5 if all landmarks are known, as in facesets that visagist made.
    Fades out with the random warp. Set it to 0 if the source's fringe shows at the seam of two who look similar."""

    yaw_bins: Annotated[int, Field(ge=0, le=180)] = 0
    """Balance the yaw of the drawn crops: split -90 to 90 degrees into this many bins and draw from each equally often;
    0 draws all crops equally often. Use 18 if profiles are rare among the crops but matter in the target; remove false
    profiles first."""
