"""Previews of a merge: a few frames before, after and with their masks, on a signed sheet."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import ConfigError, ConsentError, FootageError, NoFaceError, SubjectError
from visagist.core.events import EventCallback, Note, Progress, Result, silent
from visagist.core.files import atomic, write_atomic
from visagist.core.settings import save_call
from visagist.core.types import StrPath
from visagist.faces import Face, FaceTable, choose_identity, cluster, crop_matrix, describe
from visagist.faces.clusters import SAME_PERSON_SIMILARITY
from visagist.jobs.consent_checks import Records, covered_by_hash
from visagist.jobs.likeness import likeness_check, performer_embedding, predicted, sample_faces
from visagist.jobs.merge import check_morph
from visagist.jobs.output_paths import Report, check_output, input_files, report_path, stamps
from visagist.jobs.performer import choose_performer, known_faces, performer_of
from visagist.jobs.workspace import create_folder
from visagist.media import Footage, Frame, encode_picture, footage_sha256, note_reading, probe_shot, read_frames
from visagist.merging.options import MergeOptions
from visagist.merging.pipeline import Merged, merge_frames
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import Claim, Signer, inspect_footage, sign_picture
from visagist.zoo.sessions import replaced_models

STEP = "preview"
SIDE = 320  # px of each picture on the sheet
MAX_FRAMES = 24


@dataclass(frozen=True)
class Preview:
    """A signed sheet."""

    path: Path  # the PNG
    frames: int  # number of frames on it

    def __fspath__(self) -> str:
        return str(self.path)

    def as_text(self) -> str:
        """The path of the sheet."""
        return str(self.path)

    def as_json(self) -> dict[str, Any]:
        """The sheet as plain values."""
        return {"output": str(self.path), "frames": self.frames}


def preview(
    target: StrPath,
    output: StrPath,
    *,
    run: StrPath,
    frames: str,
    source_consent: StrPath,
    target_consent: StrPath,
    workspace: StrPath | None = None,
    device: str = "auto",
    options: MergeOptions | None = None,
    on_event: EventCallback | None = None,
) -> Preview:
    """Merge a few frames and write them as a signed sheet: before, after, mask.

    If the workspace contains the target's face table from a merge or a swap, the sheet shows what a merge with that
    workspace and these options would render. Otherwise only these frames are analysed, without tracking and smoothing,
    and the performer is the person in `target_reference`, or else the one most similar to the performer that the run
    was trained on; frames in which the performer is not recognised stay unchanged. In that case, consent is checked by
    reference pictures, because other frames may show other people; the hash of the target is sufficient only if the
    run was trained on it and it showed the performer alone.

    Args:
        target: footage of the performer.
        output: the sheet, `.png`.
        run: a training run, its folder or its weights file.
        frames: numbers and ranges such as `5,10-12`, counted from 0, at most 24 frames.
        source_consent: consent record of the subject whose face appears.
        target_consent: consent record of the performer.
        workspace: workspace of a merge or swap of the target; default the folder that contains the run.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        options: as for `merge`; `target_identity` needs the face table.
        on_event: callback receiving progress and notes.

    Raises:
        ConfigError: `frames` is malformed, the output is not a PNG, or `target_identity` is given without a face table.
        NoFaceError: none of the frames shows the performer.
        SeveralError: the face table shows several people and none was chosen.
        SubjectError: the performer cannot be determined.
        ConsentError: a record is missing, or of another person.
        VisagistError: as `merge`.
    """
    target, output, options, events = Path(target), Path(output), options or MergeOptions(), on_event or silent
    wanted = parse_frames(frames)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"{output}: a preview must be a .png file")
    records = Records.load(source_consent, target_consent, options.use)
    footage = probe_shot(target, rate=options.rate)
    note_reading([footage], STEP, events)
    workspace = Path(run).parent if workspace is None else Path(workspace)
    given = [Path(path) for path in (run, options.target_reference) if path is not None]
    check_output(output, None, workspace, [*input_files([footage], records), *given])
    trained = TrainedNetwork.open(run, device)
    records.check_trained(trained, options.subject)
    check_morph(options.morph, trained)
    whole = known_faces(footage, workspace, options)
    if whole is None and options.target_identity is not None:
        raise ConfigError(
            f"--target-identity needs the face table of a merge, but {workspace} has none for {target.name}; give the "
            "--workspace of a merge, or --target-reference PICTURE"
        )
    shown = _read(footage, wanted, options, whole is None or not whole.lost, events)
    if whole is not None:
        table, performer = whole, choose_performer(target, whole, options, workspace, events)
    else:
        table = _analyzed(shown, footage)
        performer = _recognised(table, trained, options, target, events)
    face_of = performer_of(table, performer, options)
    faces = {frame.index: face_of(frame.index) for frame in shown}
    if performer is None or all(isinstance(face, str) for face in faces.values()):
        raise NoFaceError(f"{target}: none of the frames {frames} shows the performer; choose others")
    if whole is not None:
        covered = covered_by_hash(whole, performer)
    else:
        covered = _covered_unseen(table.footage_sha256, trained, target, records)
    seen = performer_embedding(footage, table, performer, deinterlace=options.deinterlace)
    records.check_target(covered, seen)
    records.check_valid(options.use, table.footage_sha256)
    for frame in shown:  # as stills: chosen frames must not be outvoted by others
        inspect_footage([frame], f"{target}, frame {frame.index}")
    sampled = sample_faces(wanted[0], wanted[-1], lambda index: faces.get(index, "not shown"))
    check = likeness_check(records, trained, options.subject, workspace, seen, events)
    check(predicted([frame for frame in shown if frame.index in sampled], sampled, trained, options), str(trained.path))
    merged = list(merge_frames(shown, faces.__getitem__, trained, options))
    sheet = merge_sheet(merged, faces)
    create_folder(output.parent)
    claim = Claim(trained.weights_sha256, records.terms, use=options.use, replaced_models=replaced_models())
    picture = encode_picture(np.rint(sheet * 255).astype(np.uint8), ".png")
    signed = sign_picture(picture, ".png", claim, target, Signer.default())
    with atomic(output) as temporary:
        temporary.write_bytes(signed)
        # In this order, so that whatever a kill leaves, the next preview may replace it.
        output.unlink(missing_ok=True)
        (stamp,) = stamps([temporary]).values()
        write_atomic(report_path(output), Report(files={output.name: stamp}).model_dump_json(exclude_unset=True))
    save_call(
        output.with_name(output.name + ".toml"),
        {
            "target": target,
            "run": Path(run),
            "output": output,
            "preview": frames,
            "source_consent": records.source_path,
            "target_consent": records.target_path,
            "workspace": workspace,
            "device": device,
            **options.model_dump(),
        },
    )
    events(Result(STEP, output))
    return Preview(output, len(merged))


def merge_sheet(merged: Sequence[Merged], faces: dict[int, Face | str]) -> NDArray[np.float32]:
    """Rows of before, after and mask, each `SIDE` px square around the head, or of the whole frame without a face.

    Args:
        merged: the frames.
        faces: by frame index, the performer's face, or the reason why there is none.

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
        numbers |= set(range(first, min(last, first + MAX_FRAMES) + 1))
    if not 0 < len(numbers) <= MAX_FRAMES:
        raise ConfigError(f"--preview {text}: give 1 to {MAX_FRAMES} frames")
    return sorted(numbers)


def _read(footage: Footage, wanted: list[int], options: MergeOptions, seek: bool, events: EventCallback) -> list[Frame]:
    """Read the frames with these indices."""
    shown: list[Frame] = []
    for frame in read_frames(footage, wanted, deinterlace=options.deinterlace, seek=seek):
        shown.append(frame)
        events(Progress(STEP, len(shown), len(wanted)))
    missing = sorted(set(wanted) - {frame.index for frame in shown})
    if missing:
        raise FootageError(f"{footage.path}: has no frame {missing[0]}; --preview exceeds its end")
    return shown


def _analyzed(shown: list[Frame], footage: Footage) -> FaceTable:
    """Face table of single frames, with each face as a track of its own, clustered by embeddings alone."""
    found = [face for frame in shown for face in describe(frame)]
    metadata = {
        "footage_sha256": footage_sha256(footage),
        "frames": shown[-1].index + 1,
        "width": footage.width,
        "height": footage.height,
    }
    table = FaceTable([replace(face, track=number) for number, face in enumerate(found)], metadata)
    (labels,) = cluster([table])
    return table.with_identities(labels)


def _covered_unseen(footage_sha256: str, trained: TrainedNetwork, target: Path, records: Records) -> set[str]:
    """The hash of footage of which only single frames were analysed, if the run states that it shows one person alone.

    Raises:
        ConsentError: it does not, and the record has no pictures.
    """
    if any(origin.is_alone and footage_sha256 in origin.footage for origin in trained.origins.values()):
        return {footage_sha256}
    if not records.target.pictures:
        raise ConsentError(
            f"{records.target_path} (--target-consent): has no reference pictures, and a few frames of {target.name} "
            "do not show whether it contains one person alone, so its hash does not identify the person; give the "
            "--workspace of a merge of it, or a record with pictures (`visagist consent new --picture`)"
        )
    return set()


def _recognised(
    table: FaceTable, trained: TrainedNetwork, options: MergeOptions, target: Path, events: EventCallback
) -> int:
    """The performer's identity in single frames, by the reference picture or else by the run's origins."""
    people = table.identities()
    if not people:
        raise NoFaceError(f"{target}: none of the frames shows a face; choose others")
    if options.target_reference is not None:
        try:
            return choose_identity(table, options.target_reference, None, trained.path)
        except NoFaceError as error:
            raise NoFaceError(f"{target}: {error}") from error
    origins = [origin for name, origin in trained.origins.items() if name != options.subject]
    known = [np.array(origin.centroid, np.float32) for origin in origins if origin.centroid]
    remedy = "choose the performer with --target-reference PICTURE"
    if not known:
        raise SubjectError(f"{trained.path}: has no embedding of the performer it was trained on; {remedy}")
    likeness = {number: max(float(table.identity_embedding(number) @ one) for one in known) for number in people}
    best = max(people, key=lambda number: likeness[number])
    if likeness[best] < SAME_PERSON_SIMILARITY:
        raise NoFaceError(
            f"{target}: none of the frames shows the performer that the run was trained on (highest similarity "
            f"{likeness[best]:.2f}, at least {SAME_PERSON_SIMILARITY} required); choose other frames, or {remedy}"
        )
    if len(people) > 1:
        seen = f"the frames show {len(people)} people; the one most similar to the run's performer is changed"
        events(Note(STEP, f"{seen}. A merge requires --target-identity or --target-reference"))
    return best
