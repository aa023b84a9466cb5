"""A look before the merge: a few frames, before, after and mask, in seconds.

- `preview_merge`: the sheet, a signed PNG; consent and safeguard hold as for a render
- `merge_sheet`: the picture itself, from merged frames
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.errors import ConfigError, FootageError, NoFaceError, SeveralError
from visagist.events import Events, Progress, Result
from visagist.faces import Face, crop_matrix, describe, footage_sha256, picture_embeddings
from visagist.media import Frame, Reader, probe, write_picture
from visagist.merging.merge import claim_folder
from visagist.merging.options import MergeOptions
from visagist.merging.permission import Records
from visagist.merging.pipeline import Merged, merge_frames
from visagist.provenance import SAME_PERSON, Claim, Signer, inspect_footage, sign
from visagist.settings import save_call
from visagist.training import Run

SIDE = 320  # px of each picture on the sheet
MOST = 24  # frames


@dataclass(frozen=True)
class PreviewSummary:
    """A finished sheet."""

    output: Path
    frames: int

    def as_text(self) -> str:
        """The sheet's path."""
        return str(self.output)


def preview_merge(
    target: Path,
    run: Path | None,
    output: Path,
    frames: str,
    source_consent: Path | None,
    target_consent: Path | None,
    options: MergeOptions,
    device: str,
    events: Events,
) -> PreviewSummary:
    """Merge a few frames and write them as a signed sheet: before, after, mask.

    The frames are looked at one by one, without tracking and smoothing, so that nothing else needs to be read.

    Args:
        target: footage of the performer.
        run: a trained run.
        output: the sheet, `.png`.
        frames: numbers and ranges such as `5,10-12`, counted from 0, at most 24 frames.
        source_consent: consent record of the person whose face appears.
        target_consent: consent record of the performer.
        options: how the face goes in.
        device: as in `device.choose`.
        events: told progress.

    Raises:
        ConfigError: `frames` is not of that form, or the output is no PNG.
        NoFaceError: none of the frames shows the performer.
        SeveralError: a frame shows several people and no picture says who is meant.
        VisagistError: what `merge` raises.
    """
    wanted = parse_frames(frames)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"{output}: a preview is a .png file")
    if options.performer is not None:
        raise ConfigError(
            "--performer counts people of tracked footage; for a preview give --performer-reference PICTURE"
        )
    if run is None:
        raise ConfigError("a preview needs --run, the folder of a trained run")
    records = Records.load(source_consent, target_consent)
    footage = probe(target)
    trained = Run.open(run, device)
    records.check_source(set(trained.source_footage), trained.source_centroid)
    reference = None if options.performer_reference is None else picture_embeddings(options.performer_reference)
    shown: list[Frame] = []
    faces: dict[int, Face | str] = {}
    for number in wanted:
        with Reader(footage, first=number, last=number, deinterlace=options.deinterlace) as reader:
            for frame in reader:
                shown.append(frame)
                faces[frame.index] = _performer(describe(frame), reference, target, frame.index)
        if not shown or shown[-1].index != number:
            raise FootageError(f"{target}: has no frame {number}; --preview {frames} goes beyond its end")
        events(Progress("preview", len(shown), len(wanted)))
    known = [face.embedding for face in faces.values() if not isinstance(face, str) and face.embedding is not None]
    if not known:
        raise NoFaceError(f"{target}: none of the frames {frames} shows the performer; choose others")
    records.check_target({footage_sha256(footage)}, np.mean(known, axis=0))
    inspect_footage(shown)
    merged = list(merge_frames(shown, faces.__getitem__, trained, options))
    sheet = merge_sheet(merged, faces)
    claim_folder(output.parent)
    with tempfile.TemporaryDirectory(prefix="visagist-") as private:
        unsigned = Path(private) / "sheet.png"
        write_picture(unsigned, np.rint(sheet * 255).astype(np.uint8))
        sign(unsigned, output, Claim(trained.weights_sha256, records.hashes), target, Signer.default())
    save_call(
        output.with_name(output.name + ".toml"),
        {
            "target": target,
            "run": run,
            "output": output,
            "preview": frames,
            "source_consent": source_consent,
            "target_consent": target_consent,
            "device": device,
            **options.model_dump(),
        },
    )
    events(Result("preview", output))
    return PreviewSummary(output, len(merged))


def merge_sheet(merged: Sequence[Merged], faces: dict[int, Face | str]) -> NDArray[np.float32]:
    """Rows of before, after and mask, each `SIDE` px square around the head; the whole frame where there is no face.

    Args:
        merged: the frames.
        faces: the performer's face by frame number, or the reason why there is none.

    Returns:
        `(rows * SIDE, 3 * SIDE, 3)` float32 sRGB in [0, 1].
    """
    rows = []
    for item in merged:
        face = faces[item.original.index]
        if isinstance(face, str):
            scale = SIDE / max(item.original.width, item.original.height)
            matrix = np.array([[scale, 0, 0], [0, scale, 0]])
        else:
            matrix = crop_matrix(face.alignment, "head", SIDE)
        weight = np.zeros((item.original.height, item.original.width), np.float32)
        if item.region is not None:
            x0, y0, x1, y1 = item.region
            weight[y0:y1, x0:x1] = item.weight
        mask = cv2.warpAffine(weight, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        before, after = (frame.warp(matrix, (SIDE, SIDE)) for frame in (item.original, item.frame))
        rows.append(np.hstack([before, after, np.repeat(mask[..., None], 3, axis=2)]))
    return np.clip(np.vstack(rows), 0, 1).astype(np.float32)


def parse_frames(text: str) -> list[int]:
    """Frame numbers of `5,10-12`, sorted, each once.

    Raises:
        ConfigError: not of that form, or more than 24 frames.

    >>> parse_frames("10-12,5")
    [5, 10, 11, 12]
    """
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise ConfigError(f"--preview {text}: give frame numbers and ranges such as 5,10-12")
        first, last = int(match[1]), int(match[2] or match[1])
        numbers |= set(range(first, min(last, first + MOST) + 1))
    if not 0 < len(numbers) <= MOST:
        raise ConfigError(f"--preview {text}: give 1 to {MOST} frames")
    return sorted(numbers)


def _performer(found: list[Face], reference: list[np.ndarray] | None, target: Path, number: int) -> Face | str:
    if reference is not None:
        found = [
            face
            for face in found
            if face.embedding is not None and max(float(face.embedding @ one) for one in reference) >= SAME_PERSON
        ]
    if not found:
        return "no face"
    if len(found) > 1:
        raise SeveralError(
            f"{target}: frame {number} shows {len(found)} people; --performer-reference PICTURE says who is meant"
        )
    return found[0]
