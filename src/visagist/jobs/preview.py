"""A look before the merge: a few frames, before, after and mask, in seconds.

- `preview_merge`: the sheet, a signed PNG; consent and safeguard hold as for a render
- `merge_sheet`: the picture itself, from merged frames
"""

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import ConfigError, ConsentError, FootageError, NoFaceError, SubjectError
from visagist.core.events import Events, Note, Progress, Result
from visagist.core.files import write_atomic
from visagist.core.settings import save_call
from visagist.faces import Face, FaceTable, choose_identity, cluster, crop_matrix, describe
from visagist.faces.clusters import SAME
from visagist.jobs.consent_checks import Records, covered_by_hash
from visagist.jobs.merge import choose_performer, claim_folder, known_faces, performer_of
from visagist.jobs.output_paths import check_output, made_from, report_of, stamps
from visagist.media import Footage, Frame, Reader, footage_sha256, note_rate, probe, write_picture
from visagist.merging.options import MergeOptions, check_morph
from visagist.merging.pipeline import Merged, merge_frames
from visagist.models.bundle import TrainedNetwork, read_record
from visagist.provenance import Claim, Signer, inspect_footage, sign

STEP = "preview"
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
    workspace: Path | None,
    device: str,
    events: Events,
) -> PreviewSummary:
    """Merge a few frames and write them as a signed sheet: before, after, mask.

    Where the workspace holds the target's face table, of a merge or a swap, the sheet shows what a merge with that
    workspace and these options makes of the frames. Else these frames alone are looked at, without tracking and
    smoothing, so that nothing else needs to be read; of the people whom they show it is the one in
    `performer_reference`, or else the one most like the performer that the run was trained on. Faces that are not
    recognised are then left as they are. Whether other frames show other people is then not known, so that the hash of
    the target does not bind its consent record; pictures do, and so does the hash of footage that the run was trained
    on, where that showed the performer alone.

    Args:
        target: footage of the performer.
        run: a trained run.
        output: the sheet, `.png`.
        frames: numbers and ranges such as `5,10-12`, counted from 0, at most 24 frames.
        source_consent: consent record of the person whose face appears.
        target_consent: consent record of the performer.
        options: how the face goes in, and who of several performers is meant; `performer` needs the table.
        workspace: of a merge or a swap of the target; None: the folder that the run lies in, which is that of its swap.
        device: as in `device.choose`.
        events: told progress.

    Raises:
        ConfigError: `frames` is not of that form, the output is no PNG, or `performer` is given without a table.
        NoFaceError: none of the frames shows the performer.
        SeveralError: the table shows several people and none was chosen.
        SubjectError: nothing says who is meant.
        ConsentError: a record is missing, or not of the person shown.
        VisagistError: what `merge` raises.
    """
    wanted = parse_frames(frames)
    if output.suffix.lower() != ".png":
        raise ConfigError(f"{output}: a preview is a .png file")
    if run is None:
        raise ConfigError("a preview needs --run, the folder of a trained run")
    records = Records.load(source_consent, target_consent)
    footage = probe(target, options.rate)
    note_rate([footage], STEP, events)
    workspace = workspace or run.parent
    given = [path for path in (run, options.performer_reference) if path is not None]
    check_output(output, None, workspace, [*made_from([footage], records), *given])
    trained = TrainedNetwork.open(run, device)
    records.check_trained(trained, options.person)
    check_morph(options.morph, trained)
    whole = known_faces(footage, workspace, options)
    if whole is None and options.performer is not None:
        raise ConfigError(
            f"--performer counts the people of a merge, and {workspace} holds none of {target.name}: give the "
            "--workspace of one, or --performer-reference PICTURE"
        )
    shown = _read(footage, wanted, options, whole is None or not whole.lost, events)
    if whole is not None:
        table, performer = whole, choose_performer(target, whole, options, workspace, events)
    else:
        table = _look_at(shown, footage)
        performer = _recognised(table, run, options, target, events)
    face_of = performer_of(table, performer, options)
    faces = {frame.index: face_of(frame.index) for frame in shown}
    if performer is None or all(isinstance(face, str) for face in faces.values()):
        raise NoFaceError(f"{target}: none of the frames {frames} shows the performer; choose others")
    if whole is not None:
        covered = covered_by_hash(whole, performer)
    else:
        covered = _covered_unseen(table.footage_sha256, trained, target, records)
    records.check_target(covered, table.identity_embedding(performer))
    inspect_footage(shown, str(target))
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
            "workspace": workspace,
            "device": device,
            **options.model_dump(),
        },
    )
    write_atomic(report_of(output), json.dumps({"files": stamps([output])}))  # by which the next one may replace it
    events(Result(STEP, output))
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


def _read(footage: Footage, wanted: list[int], options: MergeOptions, seek: bool, events: Events) -> list[Frame]:
    """The frames of these numbers."""
    spans = [(number, number) for number in wanted] if seek else [(wanted[0], wanted[-1])]
    shown: list[Frame] = []
    for first, last in spans:
        with Reader(footage, first=first, last=last, deinterlace=options.deinterlace, seek=seek) as reader:
            for frame in reader:
                if frame.index in wanted:
                    shown.append(frame)
                    events(Progress(STEP, len(shown), len(wanted)))
    missing = sorted(set(wanted) - {frame.index for frame in shown})
    if missing:
        raise FootageError(f"{footage.path}: has no frame {missing[0]}; --preview goes beyond its end")
    return shown


def _look_at(shown: list[Frame], footage: Footage) -> FaceTable:
    """What single frames show, with each face as a track of its own, and the people told apart by their faces alone."""
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
    """The hash of footage of which only single frames were looked at, if the run knows that it shows one person.

    Raises:
        ConsentError: it does not, and the record has no pictures either.
    """
    if any(origin.is_alone and footage_sha256 in origin.footage for origin in trained.origins.values()):
        return {footage_sha256}
    if not records.target.pictures:
        raise ConsentError(
            f"{records.target_path} (--target-consent): has no reference pictures, and a few frames of {target.name} "
            "do not tell whether it shows one person alone, without which its hash binds nobody; give the --workspace "
            "of a merge of it, or a record with pictures (`visagist consent new --picture`)"
        )
    return set()


def _recognised(table: FaceTable, run: Path, options: MergeOptions, target: Path, events: Events) -> int:
    """Who of the people of single frames is the performer: by the reference picture, else by whom the run knows."""
    people = table.identities()
    if not people:
        raise NoFaceError(f"{target}: none of the frames shows a face; choose others")
    if options.performer_reference is not None:
        try:
            return choose_identity(table, options.performer_reference, None, run)
        except NoFaceError as error:
            raise NoFaceError(f"{target}: {error}") from error
    origins = read_record(run).origins
    known = [np.array(origin.centroid, np.float32) for name, origin in origins.items() if name != options.person]
    known = [centroid for centroid in known if centroid.size]
    remedy = "--performer-reference PICTURE says who is meant"
    if not known:
        raise SubjectError(f"{run}: does not say whose face it was trained on; {remedy}")
    likeness = {number: max(float(table.identity_embedding(number) @ one) for one in known) for number in people}
    best = max(people, key=lambda number: likeness[number])
    if likeness[best] < SAME:
        raise NoFaceError(
            f"{target}: none of the frames shows the performer that the run was trained on (greatest similarity "
            f"{likeness[best]:.2f}, {SAME} is the least for one person); choose other frames, or {remedy}"
        )
    if len(people) > 1:
        seen = f"the frames show {len(people)} people; changed is the one whom the run was trained on"
        events(Note(STEP, f"{seen}. A merge asks for --performer or --performer-reference"))
    return best
