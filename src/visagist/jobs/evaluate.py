"""`evaluate`: measures a render, made by any tool, against its target and its source."""

import hashlib
import json
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import FiniteFloat

from visagist.core.errors import EvaluationError, FacesetError, NoFaceError, RunError, SeveralError
from visagist.core.events import EventCallback, Progress, Result, silent
from visagist.core.files import scratch_folder, write_atomic
from visagist.core.settings import Settings, read_toml, save_call, shown
from visagist.core.types import StrPath
from visagist.evaluation.collect_frames import STEP, Performer, RepeatedMerge, collect_frames, crop_size
from visagist.evaluation.frame_matching import FrameMatching, excerpt_offset
from visagist.evaluation.measure import measure
from visagist.evaluation.metric import Figure
from visagist.evaluation.observe import observe_source
from visagist.evaluation.reconstruction import reconstruct
from visagist.evaluation.report.page import write_report
from visagist.evaluation.result import Evaluation
from visagist.evaluation.self_swap import seen_in_training
from visagist.faces import Face, FaceTable, choose_identity
from visagist.faces.subject import check_reference
from visagist.faceset import Faceset
from visagist.jobs.extract import ExtractOptions, extract
from visagist.jobs.performer import find_faces, performer_of
from visagist.jobs.train import CALL
from visagist.jobs.workspace import create_folder, default_workspace
from visagist.media import Footage, FrameRate, find_footage, note_reading, probe_shot
from visagist.merging import MergeOptions
from visagist.merging.options import frame_range
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import Verification, verify
from visagist.provenance.verify import KNOWN, UNKNOWN

INTACT = (KNOWN, UNKNOWN)  # verdicts of unchanged renders by visagist


class EvaluateOptions(Settings):
    """Which people are measured, and how the frames of render and target match."""

    group = "Matching frames"

    identity: Annotated[int | None, shown("Choosing people", first=True)] = None
    """Number of the source subject, if SOURCE is footage of several people."""

    reference: Annotated[Path | None, shown("Choosing people", first=True)] = None
    """A picture of the source subject, instead of the number."""

    target_identity: Annotated[int | None, shown("Choosing people", first=True)] = None
    """Number of the performer, if the target shows several people. Renders by visagist know it."""

    target_reference: Annotated[Path | None, shown("Choosing people", first=True)] = None
    """A picture of the performer, instead of the number."""

    rate: Annotated[FrameRate | None, shown(unit="frames per second")] = None
    """Frame rate of image sequences. By default that of the merge, for renders by visagist, and 25 otherwise."""

    offset: Annotated[FiniteFloat | None, shown(unit="seconds")] = None
    """Time to add to the render's timestamps, if it starts later in the target. By default it is found from the
    frames."""

    self_swap: bool = False
    """Source and performer are the same person, in different footage, so the target itself is the ground truth."""

    deinterlace: bool = False
    """Deinterlace an interlaced target."""


def evaluate(
    render: StrPath,
    target: StrPath,
    source: StrPath,
    *,
    run: StrPath | None = None,
    report: StrPath | None = None,
    workspace: StrPath | None = None,
    device: str = "auto",
    options: EvaluateOptions | None = None,
    on_event: EventCallback | None = None,
) -> Evaluation:
    """Measure a render against its target and its source.

    Args:
        render: the video or image sequence to measure.
        target: the footage that was changed; frames are matched by presentation time.
        source: faceset or footage of the subject whose face appears.
        run: the run that made the render. It adds the reconstruction of its validation faces and, if the render's
            credentials name its weights, the mask of the merge and the planes before encoding.
        report: `.html` file; a `.json` and the resolved call are written beside it.
        workspace: folder for face tables; default `RENDER.workspace`.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`; for the run.
        options: choice of people, and matching of frames.
        on_event: callback receiving progress.

    Raises:
        EvaluationError: render and target do not match, or one of them shows no face.
        FootageError: a file cannot be read.
        SubjectError: the performer or the source is ambiguous.
        FacesetError, RunError: the source or the run cannot be used.
        OutputError: report or workspace cannot be written.
    """
    render, target, source = Path(render), Path(target), Path(source)
    options, events = options or EvaluateOptions(), on_event or silent
    call = _merge_call(render)
    merging = _merge_options(call, options)
    shown, changed = probe_shot(render, rate=merging.rate), probe_shot(target, rate=merging.rate)
    note_reading([shown, changed], STEP, events)
    workspace = default_workspace(render) if workspace is None else Path(workspace)
    trained = None if run is None else TrainedNetwork.open(run, device)
    if trained is not None:
        trained.origin("source")  # refuses a pretraining, which cannot have made a render, before any long work
    if not _is_faceset(source):
        find_footage(source, merging.rate)
        check_reference(options.reference, options.identity)
    check_reference(merging.target_reference, merging.target_identity)
    create_folder(workspace)
    faceset = _source_faceset(source, options, merging, workspace, events)
    # The target is read as in a merge with --allow-damaged, so that whatever can be decoded is evaluated.
    table = find_faces(changed, workspace, merging.model_copy(update={"allow_damaged": True}), events)
    number = _performer(target, table, merging, workspace)
    performer = _faces_of(table, number)
    if not performer.faces:
        raise EvaluationError(f"{target}: no frame shows the performer, so there is nothing to evaluate")
    credentials = verify(render)
    repeat, notes = None, []
    if why := _why_not_repeated(render, call, trained, credentials):
        notes.append(f"{why}, so the outline of the face is used in place of the mask, and the seam is not judged")
    elif trained is not None:
        repeat = RepeatedMerge(trained, merging, performer_of(table, number, merging))
    if options.self_swap and trained is not None and seen_in_training(trained, table.footage_sha256):
        notes.append("the run was trained on this target, so the self-swap appears better than it is")
    seek = not table.lost  # if frames are lost, only sequential reading numbers frames as in the table
    size = crop_size(performer.faces)
    real = observe_source(faceset, size, lambda done: events(Progress("analyze source", done, None, "faces")))
    with scratch_folder(workspace, "evaluate") as folder:
        collected = collect_frames(
            FrameMatching(changed, shown, _offset(options, merging, changed, shown, seek=seek)),
            performer,
            real,
            folder=folder,
            repeat=repeat,
            is_self_swap=options.self_swap,
            deinterlace=merging.deinterlace,
            seek=seek,
            events=events,
        )
        reconstruction, problem = _reconstruction(trained)
        found = measure(
            collected,
            render=render,
            target=target,
            source=source,
            is_self_swap=options.self_swap,
            reconstruction=reconstruction,
            provenance=credentials.as_json(),
            settings=_settings(options, merging, trained),
            notes=(*notes, *filter(None, [problem])),
            events=events,
        )
    if report is not None:
        report = Path(report)
        write_report(found, report)
        write_atomic(report.with_suffix(".json"), json.dumps(found.as_json(), allow_nan=False, default=str))
        given = {"render": render, "target": target, "source": source, "run": run and Path(run), "report": report}
        resolved = options.model_copy(update={"rate": merging.rate}).model_dump()
        save_call(report.with_suffix(".toml"), {**given, "workspace": workspace, "device": device, **resolved})
        events(Result(STEP, report))
    return found


def _merge_call(render: Path) -> dict[str, Any]:
    """The call saved beside a render by visagist; empty for other renders."""
    saved = render.with_name(render.name + ".toml")
    return read_toml(saved) if saved.is_file() else {}


def _merge_options(call: Mapping[str, Any], options: EvaluateOptions) -> MergeOptions:
    """Options of the merge that made the render, as far as known."""
    known = {name: call[name] for name in MergeOptions.model_fields if name in call and name != "matte"}
    if options.target_identity is not None or options.target_reference is not None:
        known |= {"target_identity": options.target_identity, "target_reference": options.target_reference}
    if options.rate is not None:
        known["rate"] = options.rate
    return MergeOptions.parse({**known, "deinterlace": options.deinterlace or known.get("deinterlace", False)}, "call")


def _is_faceset(folder: Path) -> bool:
    return (folder / "extract.json").is_file()


def _source_faceset(
    source: Path, options: EvaluateOptions, merging: MergeOptions, workspace: Path, events: EventCallback
) -> Faceset:
    """The given faceset, or one extracted from the given footage."""
    if _is_faceset(source):
        return Faceset.open(source)
    who = (str(source.resolve()), str(options.reference), options.identity, str(merging.rate))
    folder = workspace / f"evaluation-source-{hashlib.sha256(repr(who).encode()).hexdigest()[:8]}"
    try:
        return extract(
            source,
            folder,
            identity=options.identity,
            reference=options.reference,
            options=ExtractOptions(rate=merging.rate),
            on_event=events,
        )
    except SeveralError as error:
        raise SeveralError(f"{error}: --identity NUMBER or --reference PICTURE") from error


def _performer(target: Path, table: FaceTable, merging: MergeOptions, workspace: Path) -> int:
    try:
        return choose_identity(table, merging.target_reference, merging.target_identity, workspace)
    except SeveralError as error:
        raise SeveralError(f"{target}: {error}: --target-identity NUMBER or --target-reference PICTURE") from error
    except NoFaceError as error:
        raise NoFaceError(f"{target}: {error}") from error


def _offset(
    options: EvaluateOptions, merging: MergeOptions, target: Footage, render: Footage, *, seek: bool
) -> Fraction:
    """Seconds to add to the render's timestamps: the option, or the start of a known excerpt."""
    if options.offset is not None:
        return Fraction(options.offset).limit_denominator(1_000_000)
    first, _ = frame_range(merging.frames)
    return excerpt_offset(target, render, first, deinterlace=merging.deinterlace, seek=seek)


def _faces_of(table: FaceTable, number: int) -> Performer:
    """The performer's faces, divided into those that a merge with default options would change, and others."""
    certain_of = performer_of(table, number, MergeOptions())
    face_of = performer_of(table, number, MergeOptions(min_score=-sys.float_info.max))
    certain = [face for index in range(table.frames) if isinstance(face := certain_of(index), Face)]
    frames = {face.frame for face in certain}
    every = [face for index in range(table.frames) if isinstance(face := face_of(index), Face)]
    return Performer(certain, [face for face in every if face.frame not in frames])


def _why_not_repeated(
    render: Path, call: Mapping[str, Any], run: TrainedNetwork | None, credentials: Verification
) -> str | None:
    """Why the merge that made the render cannot be repeated; None if it can."""
    if run is None:
        return "no run was given"
    if credentials.model_sha256 is None:
        return f"{render.name} has no credentials that name the weights it was made with"
    if credentials.verdict not in INTACT:
        return f"the credentials of {render.name} are not intact ({credentials.verdict})"
    if credentials.model_sha256 != run.weights_sha256:
        return f"the credentials of {render.name} name weights other than the run's"
    return None if call else f"the call that made {render.name} is not saved beside it"


def _reconstruction(run: TrainedNetwork | None) -> tuple[Mapping[str, Mapping[str, Figure]], str]:
    """Reconstruction of the validation faces in the facesets named in the run's saved call, or why there is none."""
    if run is None:
        return {}, ""
    saved = run.path / CALL
    call = read_toml(saved) if saved.is_file() else {}
    folders = {"source": call.get("source", ""), "target": call.get("target", ""), **call.get("others", {})}
    if not all(folder and Path(folder).is_dir() for folder in folders.values()):
        return {}, "no reconstruction: the facesets that the run was trained on were moved or deleted"
    try:
        return reconstruct(run, {name: Faceset.open(Path(folder)) for name, folder in folders.items()}), ""
    except (RunError, FacesetError) as error:
        return {}, f"no reconstruction: {error}"


def _settings(options: EvaluateOptions, merging: MergeOptions, run: TrainedNetwork | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "evaluation": options.model_dump(mode="json", exclude_none=True),
        "merge": merging.model_dump(mode="json", exclude_none=True),
    }
    if run is not None:
        found["run"] = {"weights_sha256": run.weights_sha256, **run.record.model_dump(mode="json", exclude_none=True)}
    return found
