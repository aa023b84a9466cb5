"""Whom the predicted faces show.

A run's record states what it was trained on, and nothing ties that to its weights but the record itself. So a sample of
what is actually predicted is compared with everybody whose face it could be: the check of consent that weights from
elsewhere cannot evade. The embedded SFace model is used whatever the user has configured.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from visagist.core.errors import ConsentError, VisagistError
from visagist.core.events import EventCallback, Warned
from visagist.faces import Face, FaceTable, crop_matrix, embed, mean_embedding, picture_embeddings, transform
from visagist.jobs.consent_checks import Records
from visagist.media import Footage, Frame, frame_from_rgb, read_frames
from visagist.merging import MergeOptions
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import SAME_PERSON, Consent, read_consent
from visagist.zoo.sessions import replacements

# SFace cosines of the mean of sampled predictions. In runs of 300 to 17,000 faces on four people, to the record's own
# person 0.81 to 0.93, and to all others at most 0.22 (docs/explanation/consent.md).
RESEMBLES = 0.45  # another person, from here on
MARGIN = 0.1  # by which that must exceed the resemblance to the record's person
SAMPLES = 4  # frames before the first chunk, and again of the finished render
FIRST_FRAMES = 64  # the frames before the first chunk are taken from this many
MAX_RECORDS = 64  # consent records that are looked at

Embeddings = Mapping[str, NDArray[np.floating]]  # by description of the person
LikenessCheck = Callable[[NDArray[np.floating] | None, str], None]  # of a mean embedding `(128,)`, and what it is of


def sample_faces(first: int, last: int, face_of: Callable[[int], Face | str]) -> dict[int, Face]:
    """Up to `SAMPLES` evenly spaced faces of the frames from `first` to `last`, by frame."""
    faces = {index: face for index in range(first, last + 1) if not isinstance(face := face_of(index), str)}
    indices = list(faces)
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(SAMPLES, len(indices))).round().astype(int))
    return {indices[i]: faces[indices[i]] for i in chosen}


def predicted(
    frames: Iterable[Frame], faces: Mapping[int, Face], network: TrainedNetwork, options: MergeOptions
) -> NDArray[np.float32] | None:
    """Mean embedding `(128,)` of the predicted faces themselves, without mask and blending; None without frames."""
    placed = [(frame, faces[frame.index]) for frame in frames]
    if not placed:
        return None
    matrices = [crop_matrix(face.alignment, network.coverage, network.size) for _, face in placed]
    size = (network.size, network.size)
    crops = np.stack([frame.warp(matrix, size) for (frame, _), matrix in zip(placed, matrices, strict=True)])
    rgb, _ = network.predict(torch.from_numpy(crops).permute(0, 3, 1, 2), options.subject, options.morph)
    found = [
        embed(frame_from_rgb(picture), transform(matrix, face.landmarks[:, :2]), packaged=True)
        for picture, (_, face), matrix in zip(
            rgb.permute(0, 2, 3, 1).contiguous().numpy(), placed, matrices, strict=True
        )
    ]
    return mean_embedding(np.stack(found), np.ones(len(found)))


def rendered(frames: Iterable[Frame], faces: Sequence[Face]) -> NDArray[np.float32] | None:
    """Mean embedding `(128,)` of faces in rendered frames, at the target's landmarks; None without frames."""
    found = [embed(frame, face.landmarks, packaged=True) for frame, face in zip(frames, faces, strict=True)]
    return mean_embedding(np.stack(found), np.ones(len(found))) if found else None


def performer_embedding(
    footage: Footage, table: FaceTable, performer: int, *, deinterlace: bool
) -> NDArray[np.float32]:
    """Mean embedding `(128,)` of the performer by the embedded model.

    It is that of the face table unless the user has replaced the model, whose embeddings are in the table then.
    """
    if "sface" not in replacements():
        return table.identity_embedding(performer)
    best = sorted((face for face in table if face.identity == performer), key=lambda face: -face.score)
    faces = {face.frame: face for face in best[:SAMPLES]}
    frames = list(read_frames(footage, faces, deinterlace=deinterlace, seek=not table.lost))
    found = rendered(frames, [faces[frame.index] for frame in frames])
    return table.identity_embedding(performer) if found is None else found


def person_of(record: Consent, path: Path, network: TrainedNetwork, subject: str) -> Embeddings:
    """Embeddings of the record's person: of its pictures, and of the faceset that the subject was trained on.

    The latter is what the run states, so it only counts if it resembles the pictures, or if there are none.
    """
    found: dict[str, NDArray[np.floating]] = {}
    for picture in record.pictures:
        for each in picture_embeddings(path.parent / picture.path, packaged=True)[:1]:
            found[picture.path] = each
    centroid = np.array(network.origin(subject).centroid)
    if centroid.size and (not found or any(_cosine(centroid, each) >= SAME_PERSON for each in found.values())):
        found["training"] = centroid
    return found


def known_people(network: TrainedNetwork, own: Path, folders: Iterable[Path]) -> Embeddings:
    """Everybody whose face the run could show: its people, those of earlier runs, and those of other consent records.

    Args:
        network: the run.
        own: the record of the subject to be merged, which is left out.
        folders: folders whose consent records are looked at.
    """
    found: dict[str, NDArray[np.floating]] = {}
    for name in network.record.origins:
        for i, origin in enumerate(network.record.shown(name)):
            if origin.centroid:
                found[f"'{name}' of {network.path}" + (", as it was before" if i else "")] = np.array(origin.centroid)
    if network.record.ancestor is not None:
        for name, origins in network.record.ancestor.shown.items():
            for i, origin in enumerate(origins):
                if origin.centroid:
                    found[f"'{name}' of the run that {network.path} started from ({i})"] = np.array(origin.centroid)
    for path, record in _records(folders, own):
        for picture in record.pictures:
            try:
                embeddings = picture_embeddings(path.parent / picture.path, packaged=True)
            except (VisagistError, OSError):
                continue  # a record that is not used need not be whole
            found |= {f"'{record.name}' of {path}": each for each in embeddings[:1]}
    return found


def likeness_check(
    records: Records,
    network: TrainedNetwork,
    subject: str,
    workspace: Path,
    performer: NDArray[np.floating] | None,
    events: EventCallback,
) -> LikenessCheck:
    """`check_likeness` as a function of the faces and their name, with everybody whose face this render could show.

    Args:
        records: of the render.
        network: the run.
        subject: the identity to be merged.
        workspace: of the merge; consent records in it, and beside the two of the render, are looked at.
        performer: as in `check_likeness`.
        events: as in `check_likeness`.
    """
    path = records.source_path
    person = person_of(records.source, path, network, subject)
    others = known_people(network, path, (workspace, path.parent, records.target_path.parent))
    return lambda shown, what: check_likeness(shown, person, others, performer, what, events)


def check_likeness(
    shown: NDArray[np.floating] | None,
    person: Embeddings,
    others: Embeddings,
    performer: NDArray[np.floating] | None,
    what: str,
    events: EventCallback,
) -> None:
    """Refuse faces that resemble somebody else more than the person of the record.

    Args:
        shown: `(128,)` mean embedding of the faces; None if there are none.
        person: embeddings of the record's person.
        others: embeddings of other people; those of the same person, or of the performer, do not count.
        performer: `(128,)` embedding of the target's performer, whom faces may resemble.
        what: names the faces in messages.
        events: receives a warning if the faces resemble nobody.

    Raises:
        ConsentError: they do.
    """
    if shown is None:
        return
    likeness = max((_cosine(shown, each) for each in person.values()), default=-1.0)
    allowed = [*person.values(), *([] if performer is None else [performer])]
    for name, other in others.items():
        if any(_cosine(other, each) >= SAME_PERSON for each in allowed):
            continue
        if (found := _cosine(shown, other)) >= RESEMBLES and found > likeness + MARGIN:
            raise ConsentError(
                f"{what}: shows {name} (SFace similarity {found:.2f}) rather than the person of --source-consent "
                f"({likeness:.2f}); give that person's record, or train on footage of the person who agreed (if it "
                "is the same person at another age, make a record with a picture of the footage as well)"
            )
    if person and likeness < RESEMBLES:
        events(
            Warned("consent", f"{what}: hardly resembles the person of --source-consent (SFace similarity "
                   f"{likeness:.2f}, usually above {RESEMBLES}); it may need more training")
        )  # fmt: skip


def _cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9))


def _records(folders: Iterable[Path], own: Path) -> list[tuple[Path, Consent]]:
    """Consent records in these folders, except `own`."""
    found: list[tuple[Path, Consent]] = []
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        for path in sorted(folder.glob("*.toml"))[:MAX_RECORDS] if folder.is_dir() else ():
            if path != own.resolve():
                try:
                    found.append((path, read_consent(path)[0]))
                except ConsentError:
                    continue  # another TOML file, or a record that is not used
    return found
