"""Safeguard against intimate imagery: the target of a merge is inspected before any face is changed.

A classifier (NSFW MobileNetV2 from nsfwjs, MIT) sees at least two whole frames per second, never face crops, which it
misclassifies. The rule refused none of 48 benign clips. It hinders misuse but is no guarantee.
"""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import SafeguardError
from visagist.zoo.sessions import MODELS, model_sha256, session

RULE = 2  # version of the sampling and the rule, for cached verdicts
MODEL = "safeguard"
INTERVAL_S = Fraction(1, 2)  # longest time between sampled frames
INTERVAL_FRAMES = 15  # and most frames: image sequences can be declared to run at 240 frames per second
SIDE = 224  # px
LIKELY, LIKELY_SHARE, LIKELY_FRAMES = 0.7, 0.1, 2
SURE, SURE_IN_A_ROW = 0.85, 3
_HENTAI, _PORN = 1, 3  # of drawing, hentai, neutral, porn, sexy


class SeenFrame(Protocol):
    """The part of `visagist.media.Frame` that is used here."""

    @property
    def time(self) -> Fraction: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    def thumbnail(self, long_side: int) -> tuple[np.ndarray, float]: ...


def refuses(probabilities: Sequence[float]) -> bool:
    """Whether footage is refused, given the probability of intimate imagery in each sampled frame, in order.

    It is refused if at least two frames, and at least a tenth of all, exceed 0.7; if three consecutive frames exceed
    0.85; or if there are fewer than three frames, as in a still, and all exceed 0.85.

    >>> refuses([0.1, 0.75, 0.8]), refuses([0.1, 0.75, 0.2])
    (True, False)
    >>> refuses([0.0] * 40 + [0.9, 0.9, 0.9])
    True
    """
    likely = sum(value > LIKELY for value in probabilities)
    if likely >= LIKELY_FRAMES and likely >= LIKELY_SHARE * len(probabilities):
        return True
    if 0 < len(probabilities) < SURE_IN_A_ROW and min(probabilities) > SURE:
        return True
    run = 0
    for value in probabilities:
        run = run + 1 if value > SURE else 0
        if run == SURE_IN_A_ROW:
            return True
    return False


def intimacy(rgb: NDArray[np.uint8]) -> float:
    """Probability in [0, 1] that a whole frame shows intimate imagery.

    The embedded classifier always runs. A user's replacement runs too, and the higher probability counts.

    Args:
        rgb: `(h, w, 3)` uint8 R'G'B', upright.

    Raises:
        WeightsError: the classifier is missing or was changed.
    """
    squeezed = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)  # not cropped
    small = squeezed.astype(np.float32) / np.float32(255)
    classifiers = dict.fromkeys([session(MODEL, packaged=True), session(MODEL)])  # one unless it is replaced
    found = [np.asarray(each.run(["probs"], {"image": small[None]})[0])[0] for each in classifiers]
    return max(float(probabilities[[_HENTAI, _PORN]].sum()) for probabilities in found)


def safeguard_version() -> str:
    """Identifies rule and classifiers, to store with verdicts."""
    return f"{RULE}-{MODELS[MODEL].sha256[:8]}-{model_sha256(MODEL)[:8]}"


class Safeguard:
    """Samples footage that is read elsewhere, in order, every half second or 15 frames, and decides at the end.

        safeguard = Safeguard()
        for frame in reader:
            safeguard.see(frame)
            ...
        safeguard.finish()

    Args:
        classify: from a whole frame, `(h, w, 3)` uint8 R'G'B', to the probability of intimate imagery.
        name: name of the footage, for the message.
    """

    def __init__(self, classify: Callable[[NDArray[np.uint8]], float] = intimacy, name: str = "the footage") -> None:
        self.probabilities: list[float] = []  # of the sampled frames
        self._classify, self._name = classify, name
        self._due: Fraction | None = None
        self._skipped = 0

    def see(self, frame: SeenFrame) -> None:
        """Classify a frame if the next sample is due.

        Raises:
            SafeguardError: three consecutive samples exceed 0.85, which settles the decision early.
        """
        if self._is_due(frame.time):
            # a thumbnail whose shorter side is still 224 px, so that squeezing it remains an area average
            long_side = -(-SIDE * max(frame.width, frame.height) // min(frame.width, frame.height))
            self._take(self._classify(frame.thumbnail(long_side)[0]))

    def see_picture(self, time: Fraction | float, rgb: NDArray[np.uint8]) -> None:
        """As `see`, for a whole frame as `(h, w, 3)` uint8 R'G'B' at `time` in seconds."""
        if self._is_due(Fraction(time)):
            self._take(self._classify(rgb))

    def finish(self) -> None:
        """Raise `SafeguardError` if the footage is refused."""
        if refuses(self.probabilities):
            likely = sum(value > LIKELY for value in self.probabilities)
            raise SafeguardError(
                f"{self._name}: seems to show intimate imagery ({likely} of {len(self.probabilities)} sampled frames); "
                "visagist does not change faces in such footage"
            )

    def _is_due(self, time: Fraction) -> bool:
        self._skipped += 1
        if self._due is not None and time < self._due and self._skipped < INTERVAL_FRAMES:
            return False
        self._due, self._skipped = time + INTERVAL_S, 0
        return True

    def _take(self, probability: float) -> None:
        self.probabilities.append(probability)
        if len(self.probabilities) >= SURE_IN_A_ROW and min(self.probabilities[-SURE_IN_A_ROW:]) > SURE:
            self.finish()


def inspect_footage(
    frames: Iterable[SeenFrame | tuple[Fraction | float, NDArray[np.uint8]]], name: str = "the footage"
) -> Safeguard:
    """Run the safeguard over whole footage.

    Args:
        frames: a `visagist.media.Reader`, or pairs of time in seconds and `(h, w, 3)` uint8 R'G'B', in order.
        name: name of the footage, for the message.

    Returns:
        The safeguard with the sampled probabilities, if the footage is not refused.

    Raises:
        SafeguardError: the footage is refused.
    """
    safeguard = Safeguard(name=name)
    for frame in frames:
        if isinstance(frame, tuple):
            safeguard.see_picture(*frame)
        else:
            safeguard.see(frame)
    safeguard.finish()
    return safeguard
