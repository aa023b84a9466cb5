"""A complete swap: extract, train, merge and sign, with each step resumable."""

import json
from pathlib import Path

import numpy as np

from visagist.core.device import select_device
from visagist.core.errors import FacesetError, NoFaceError, OutputError, SeveralError
from visagist.core.events import EventCallback, silent
from visagist.core.files import write_atomic
from visagist.core.options import combine
from visagist.core.settings import save_call
from visagist.core.types import StrPath
from visagist.faces.subject import check_reference
from visagist.faceset import Faceset, is_alone
from visagist.jobs.consent_checks import Records, check_footage
from visagist.jobs.extract import ExtractOptions, extract_faceset
from visagist.jobs.merge import Render, check_frames, merge
from visagist.jobs.output_paths import check_output, input_files
from visagist.jobs.train import train
from visagist.jobs.workspace import (
    CALL,
    CHUNKS,
    DONE,
    RUN,
    SAFEGUARD,
    SOURCE,
    TABLES,
    TARGET,
    create_folder,
    default_workspace,
)
from visagist.media import (
    EncodeOptions,
    Footage,
    find_footage,
    footage_sha256,
    note_reading,
    photo_hashes,
    probe_shot,
)
from visagist.merging import MergeOptions
from visagist.models import configure
from visagist.models.bundle import read_record
from visagist.provenance import Signer
from visagist.training import TrainOptions
from visagist.training.run import RECORD

STEP = "swap"


def swap(
    source: StrPath,
    target: StrPath,
    output: StrPath,
    *,
    source_consent: StrPath,
    target_consent: StrPath,
    workspace: StrPath | None = None,
    iterations: int | None = None,
    minutes: float | None = None,
    model: str | None = None,
    device: str | None = None,
    identity: int | None = None,
    reference: StrPath | None = None,
    training: TrainOptions | None = None,
    merging: MergeOptions | None = None,
    encoding: EncodeOptions | None = None,
    on_event: EventCallback | None = None,
) -> Render:
    """Replace the performer's face in `target` by the face in `source`, and sign the render as synthetic.

    If interrupted, the same call continues; repeated, it returns at once.

    Args:
        source: footage of the subject whose face will appear, a file or a folder.
        target: footage of the performer.
        output: `.mp4`, `.mov`, `.mkv`, or a folder for an image sequence (OpenEXR if the target is, else PNG).
        source_consent: consent record of the subject in `source`.
        target_consent: consent record of the performer.
        workspace: folder for facesets, run and unfinished work; default `OUTPUT.workspace` beside the output.
        iterations: total training iterations; raise them to continue a finished training.
        minutes: total training time instead.
        model: architecture of the network.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        identity: number of the subject, if `source` shows several people.
        reference: a picture of that subject instead.
        training: all other settings of the training.
        merging: all other settings of the merge, such as mask, colour and the choice of the performer in `target`.
        encoding: codec, quality and speed.
        on_event: callback receiving progress, notes and warnings.

    Raises:
        VisagistError: as `extract`, `train` and `merge`; consent and safeguard are checked before the training.
        ConfigError: an option is given twice or not allowed.
    """
    # Refuse whatever can be refused before any long work.
    source, target, output = Path(source), Path(target), Path(output)
    workspace = default_workspace(output) if workspace is None else Path(workspace)
    events = on_event or silent
    training = combine(training, TrainOptions, iterations=iterations, minutes=minutes, model=model, device=device)
    merging, encoding = merging or MergeOptions(), encoding or EncodeOptions()
    subject = ExtractOptions(
        reference=None if reference is None else Path(reference),
        identity=identity,
        rate=merging.rate,
        deinterlace=merging.deinterlace,
        masks=merging.masks,
    )
    records = Records.load(source_consent, target_consent, merging.use)
    clips = find_footage(source, merging.rate)
    footage = probe_shot(target, rate=merging.rate)
    note_reading([*clips, footage], STEP, events)
    encoding.resolved(footage, output)
    check_frames(merging.frames, footage, output)
    Signer.default()
    if training.preset is None or "model" in training.model_fields_set:  # else the preset has yet to choose one
        configure(training.model, training.settings)
    select_device(training.device)
    pictures = [path for path in (subject.reference, merging.target_reference) if path is not None]
    parts = [workspace / name for name in (SOURCE, TARGET, RUN, TABLES, SAFEGUARD, CHUNKS)]
    check_output(output, merging.matte, workspace, [*input_files([*clips, footage], records), *pictures, *parts])
    _check_apart([*clips, footage], workspace)
    if not output.exists():  # a finished render needs no pictures
        check_reference(subject.reference, subject.identity)
        check_reference(merging.target_reference, merging.target_identity)
    if isinstance(training.start, Path) and not (workspace / RUN / RECORD).exists():
        read_record(training.start)
    # Records bound by hashes alone are decided by them, so exchanged records are refused before the extraction.
    if not records.source.pictures:
        hashes = (photo_hashes(clip) or (footage_sha256(clip),) for clip in clips)
        records.check_source({digest for each in hashes for digest in each}, ())
    if not records.target.pictures:
        records.check_target({footage_sha256(footage)}, np.empty(0, np.float32))
    create_folder(workspace)
    create_folder(output.parent)
    call = {
        "source": source,
        "target": target,
        "output": output,
        "source_consent": records.source_path,
        "target_consent": records.target_path,
        "workspace": workspace,
        "reference": subject.reference,
        "identity": subject.identity,
        # Options that a preset leaves open are decided when the run starts, and saved there.
        **training.model_dump(exclude_unset=training.preset is not None),
        **merging.model_dump(),
        **encoding.model_dump(),
    }
    done = workspace / DONE
    stamps = json.dumps([str(call), *(clip.stamps() for clip in [*clips, footage])])
    is_done = done.is_file() and done.stat().st_size == len(stamps) and done.read_bytes() == stamps.encode()
    save_call(workspace / CALL, call)

    def finish(run: Path | None) -> Render:
        return merge(
            target,
            output,
            run=run,
            source_consent=records.source_path,
            target_consent=records.target_path,
            workspace=workspace,
            device=training.device,
            options=merging,
            encoding=encoding,
            on_event=events,
        )

    if is_done and output.exists():
        return finish(workspace / RUN)
    faces_source = _extract_source(clips, workspace, subject, events)
    # The hash of footage that shows several people does not say who of them consented.
    covered = set(faces_source.footage_hashes) if is_alone(faces_source) else set()
    records.check_source(covered, faces_source.centroid())
    try:
        faces_target = _extract_target(footage, workspace, merging, events)
    except NoFaceError as error:
        if merging.allow_no_face:
            return finish(None)
        raise NoFaceError(f"{error}; --allow-no-face copies it unchanged") from error
    (target_sha256,) = faces_target.footage_hashes
    records.check_target({target_sha256} if is_alone(faces_target) else set(), faces_target.centroid())
    records.check_valid(merging.use, target_sha256)
    check_footage(footage, target_sha256, workspace / SAFEGUARD)
    done.unlink(missing_ok=True)  # the run may now be extended and is not finished until it is merged
    train(faces_source, faces_target, workspace / RUN, options=training, on_event=events)
    render = finish(workspace / RUN)
    write_atomic(done, stamps)
    return render


def _check_apart(footage: list[Footage], workspace: Path) -> None:
    """Raise `OutputError` for footage inside a folder that the swap writes to."""
    for name in (SOURCE, TARGET, RUN):
        home = (workspace / name).resolve()
        for clip in footage:
            if home in (clip.path.resolve(), *clip.path.resolve().parents):
                raise OutputError(
                    f"{clip.path}: is inside the folder that the swap writes its {name} to; choose another --workspace"
                )


def _extract_source(clips: list[Footage], workspace: Path, options: ExtractOptions, events: EventCallback) -> Faceset:
    try:
        return extract_faceset(clips, workspace / SOURCE, options, events)
    except SeveralError as error:
        raise SeveralError(f"{error}: --identity NUMBER or --reference PICTURE") from error


def _extract_target(footage: Footage, workspace: Path, merging: MergeOptions, events: EventCallback) -> Faceset:
    options = ExtractOptions(
        reference=merging.target_reference,
        identity=merging.target_identity,
        rate=merging.rate,
        deinterlace=merging.deinterlace,
        masks=merging.masks,
        allow_damaged=merging.allow_damaged,
    )
    try:
        faceset = extract_faceset(footage, workspace / TARGET, options, events, tables=workspace / TABLES)
    except SeveralError as error:
        raise SeveralError(f"{error}: --target-identity NUMBER or --target-reference PICTURE") from error
    if len(faceset.footage_hashes) != 1:
        raise FacesetError(
            f"{faceset.path}: also contains crops of footage other than {footage.path}; move them away, or run train "
            "and merge separately"
        )
    return faceset
