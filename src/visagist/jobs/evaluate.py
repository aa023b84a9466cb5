"""How good a render is.

- `evaluate`: render, target and source to an `Evaluation`, and a report where one is asked for
- `EvaluateOptions`: who is meant, how the times fit

Works for any tool's render. Where it is visagist's own, the call saved beside it tells how it was merged, and the run
(`run=`) gives the mask itself, the planes before encoding, and held-out faces to reconstruct.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat

from visagist.core.errors import EvaluationError, FacesetError, NoFaceError, RunError, SeveralError
from visagist.core.events import Events, Progress, Result
from visagist.core.files import write_atomic
from visagist.core.settings import Settings, read_toml, save_call
from visagist.evaluation.collect_frames import STEP, Gathered, Performer, Repeat, crop_size, gather
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.frame_matching import number_rate
from visagist.evaluation.metric import Figure, evaluate_metric, figure_of
from visagist.evaluation.metrics import all_metrics
from visagist.evaluation.metrics.background import EQUAL
from visagist.evaluation.observe import look_at_source
from visagist.evaluation.reconstruction import reconstruct
from visagist.evaluation.report.page import write_report
from visagist.evaluation.result import NOISE, Column, Evaluation, Strip
from visagist.evaluation.self_swap import check_same_person, compare_self, seen_in_training, with_all_swapped
from visagist.faces import Face, FaceTable, choose_identity
from visagist.faceset import Faceset
from visagist.jobs.extract import ExtractOptions, extract
from visagist.jobs.merge import claim_folder, default_workspace, find_faces, performer_of
from visagist.jobs.train import CALL
from visagist.media import Footage, FrameRate, Reader, note_rate, probe
from visagist.merging import MergeOptions
from visagist.merging.options import frame_range
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import Verification, verify
from visagist.provenance.verify import KNOWN, UNKNOWN

MADE = (KNOWN, UNKNOWN)  # verdicts of renders of visagist that are as they were signed
STRIPS = 6  # frames shown besides the worst ones
CROP_STEP = 0.04  # s, about what lies between two held-out crops


class EvaluateOptions(Settings):
    """Who is meant, and how the times fit."""

    performer: int | None = None
    """Which person in the target was swapped, where it shows several; visagist's own renders tell it themselves."""

    performer_reference: Path | None = None
    """The same by a picture of the performer."""

    source_identity: int | None = None
    """Which person in SOURCE is meant, where it is footage that shows several."""

    source_reference: Path | None = None
    """The same by a picture of the source."""

    rate: FrameRate | None = None
    """Frames a second of image sequences; by default what the call beside a render of visagist's own tells, else 25."""

    offset: FiniteFloat | None = None
    """Seconds to add to the render's times, where it starts later in the target."""

    self_swap: bool = False
    """The source is the performer, in other footage: the target itself is the right answer."""

    deinterlace: bool = False
    """Deinterlace an interlaced target."""


def evaluate(
    render: Path,
    target: Path,
    source: Path,
    options: EvaluateOptions,
    run: Path | None,
    report: Path | None,
    workspace: Path | None,
    device: str,
    events: Events,
) -> Evaluation:
    """Measure a render against its target and its source.

    Args:
        render: what is judged, of any tool; frames are paired with the target's by presentation time.
        target: the footage that was changed.
        source: faceset or footage of the person whose face appears.
        options: who is meant, how the times fit.
        run: the run that made the render, where there is one.
        report: `.html`, written with a `.json` and the resolved call beside it; None: none.
        workspace: folder for tables of faces; None: `RENDER.workspace` beside the render.
        device: as in `device.choose`; for the run.
        events: told progress.

    Raises:
        EvaluationError: render and target do not fit, or one of them shows no face to judge.
        FootageError: a file cannot be read.
        SubjectError: who is meant cannot be told.
        FacesetError, RunError: the source or the run cannot be used.
        OutputError: report or workspace cannot be written.
    """
    call = _merge_call(render)
    merging = _merge_options(call, options)
    shown, changed = probe(render, merging.rate), probe(target, merging.rate)
    note_rate([shown, changed], STEP, events)
    workspace = workspace or default_workspace(render)
    claim_folder(workspace)
    trained = None if run is None else TrainedNetwork.open(run, device)
    if trained is not None:
        trained.origin("source")  # a pretraining, which made no render, is refused before any long work
    faceset = _source_faceset(source, options, merging, workspace, events)
    # Judged by what can be decoded, as any damaged footage that a render was made of with --allow-damaged.
    table = find_faces(changed, workspace, merging.model_copy(update={"allow_damaged": True}), events)
    number = _performer(target, table, merging, workspace)
    performer = _shown(table, number)
    if not performer.faces:
        raise EvaluationError(f"{target}: shows the performer in no frame; there is nothing to judge")
    seen = verify(render)
    repeat = None
    is_its_run = trained is not None and seen.verdict in MADE and seen.model_sha256 == trained.weights_sha256
    if trained is not None and is_its_run and call:
        repeat = Repeat(trained, merging, performer_of(table, number, merging))
    real = look_at_source(
        faceset, crop_size(performer.faces), lambda done: events(Progress("look at the source", done, None, "faces"))
    )
    offset = _offset(options, merging, changed, shown, table)
    with tempfile.TemporaryDirectory(dir=workspace, prefix=".evaluate-") as folder:
        gathered = gather(changed, shown, performer, table.lost, real, repeat, merging, offset, Path(folder), events)
        if options.self_swap:
            gathered = with_all_swapped(gathered, is_mask_known=repeat is not None)
        found = _judge(gathered, render, target, source, table.footage_sha256, trained, options, merging, seen, events)
    if report is not None:
        write_report(found, report)
        write_atomic(report.with_suffix(".json"), json.dumps(found.as_json(), allow_nan=False, default=str))
        given = {"render": render, "target": target, "source": source, "run": run, "report": report, "device": device}
        resolved = options.model_copy(update={"rate": merging.rate})
        save_call(report.with_suffix(".toml"), {**given, "workspace": workspace, **resolved.model_dump()})
        events(Result(STEP, report))
    return found


def _judge(
    gathered: Gathered,
    render: Path,
    target: Path,
    source: Path,
    target_sha256: str,
    run: TrainedNetwork | None,
    options: EvaluateOptions,
    merging: MergeOptions,
    seen: Verification,
    events: Events,
) -> Evaluation:
    """All figures of what was gathered."""
    case = gathered.case
    notes: list[str] = []
    if options.self_swap:
        check_same_person(case)
        if run is not None and seen_in_training(run, target_sha256):
            notes.append("the run was trained on this very target: the floor is lower than it looks")
    columns: list[Column] = []
    everything = (case.judged, *gathered.baselines)
    for number, appearance in enumerate(everything):
        events(Progress("measure", number, len(everything), "columns"))
        columns.append(_column(case.judging(appearance)))
    events(Progress("measure", len(everything), len(everything), "columns"))
    is_mask_known = gathered.planes_changed_outside is not None
    if not is_mask_known:
        why = _why_not_repeated(render, run, seen)
        notes.append(
            f"{why}: the mask is the hull of the landmarks, so that the seam is not judged, and planes before encoding "
            "are unknown"
        )
    else:
        notes.append("mask, and planes before encoding, are of the same merge made again: same weights, same options")
    if options.self_swap:
        notes.append("all frames are judged that the merge went through; as a self-swap may change nothing that shows")
    elif not case.is_swapped.any():
        notes.append("the render shows the target's own face in every frame; all frames are judged")
    else:
        notes.append("the figures are of the frames that the render changed; how many these are, coverage says")
    return Evaluation(
        render=render,
        target=target,
        source=source,
        metrics=all_metrics(),
        columns=tuple(columns),
        frames=case.frames,
        follows=case.follows,
        times=case.times,
        coverage=gathered.coverage,
        planes_changed_outside=gathered.planes_changed_outside,
        reconstruction={} if run is None else _reconstruction(run, notes),
        self_swap=_self_swap(case, columns[0]) if options.self_swap else {},
        flags=gathered.flags,
        strips=_strips(case, columns[0]),
        provenance=seen.as_json(),
        settings=_settings(options, merging, run),
        notes=tuple(notes),
        is_mask_known=is_mask_known,
    )


def _shown(table: FaceTable, number: int) -> Performer:
    """The performer's faces, by whether a merge with default options would take them for certain."""
    face_of = performer_of(table, number, MergeOptions())
    everywhere = performer_of(table, number, MergeOptions(min_score=-sys.float_info.max))
    found = [(face_of(index), everywhere(index)) for index in range(table.frames)]
    return Performer(
        [face for face, _ in found if isinstance(face, Face)],
        [any_face for face, any_face in found if isinstance(any_face, Face) and not isinstance(face, Face)],
    )


def _why_not_repeated(render: Path, run: TrainedNetwork | None, seen: Verification) -> str:
    if run is None:
        return "no run was given"
    if seen.model_sha256 is None:
        return f"{render.name} has no credentials that say what it was made with"
    if seen.verdict not in MADE:
        return f"the credentials of {render.name} do not hold ({seen.verdict})"
    if seen.model_sha256 != run.weights_sha256:
        return f"the credentials of {render.name} name other weights than the run's"
    return f"the call that made {render.name} is not saved beside it"


def _column(case: Case) -> Column:
    figures: dict[str, Figure] = {}
    curves: dict[str, NDArray[np.float64]] = {}
    for metric in all_metrics():
        if case.judged.name == NOISE and not metric.has_noise_floor:
            continue  # the shaken picture is there for the detectors; as a picture it says nothing
        figures[metric.name], curves[metric.name] = evaluate_metric(metric, case)
    return Column(case.judged.name, figures, curves)


def _strips(case: Case, column: Column) -> tuple[Strip, ...]:
    """Frames spread over the footage, and the worst one of each metric."""
    worst: dict[int, list[str]] = {}
    for metric in all_metrics():
        curve = column.curves[metric.name]
        if np.isfinite(curve).any() and metric.better != "neither":
            badness = {"higher": -curve, "lower": curve, "one": np.abs(curve - 1)}[metric.better]
            worst.setdefault(int(np.nanargmax(badness)), []).append(metric.name)
    spread = np.linspace(0, len(case.frames) - 1, min(STRIPS, len(case.frames))).round().astype(int).tolist()
    return tuple(
        Strip(
            frame=int(case.frames[i]),
            time=float(case.times[i]),
            target=np.array(case.target.crops[i]),
            render=np.array(case.judged.crops[i]),
            worst_in=tuple(worst.get(i, ())),
        )
        for i in sorted({*spread, *worst})
    )


def _reconstruction(run: TrainedNetwork, notes: list[str]) -> Mapping[str, Mapping[str, Figure]]:
    """Held-out reconstruction of both sides, from the facesets that the run's own call names; else a note why not."""
    saved = run.path / CALL
    named = read_toml(saved) if saved.is_file() else {}
    given = {**{side: named.get(side, "") for side in ("source", "target")}, **dict(named.get("others", {}))}
    folders = {name: Path(str(folder)) for name, folder in given.items()}
    if not all(folder.is_dir() and folder != Path() for folder in folders.values()):
        notes.append("no reconstruction: the facesets that the run was trained on are not where they were")
        return {}
    try:
        found = reconstruct(run, {name: Faceset.open(folder) for name, folder in folders.items()})
    except (RunError, FacesetError) as error:
        notes.append(f"no reconstruction: {error}")
        return {}
    return {side: {name: _stills_figure(values) for name, values in each.items()} for side, each in found.items()}


def _stills_figure(values: NDArray[np.float64]) -> Figure:
    """The figure of held-out crops, which are neighbours as frames are."""
    return figure_of(values, CROP_STEP * np.arange(len(values), dtype=np.float64), None, "higher")


def _self_swap(case: Case, column: Column) -> Mapping[str, Figure]:
    """Against the right answer, the target itself, in the frames that the render changed."""
    values = compare_self(case.target.crops, case.judged.crops, case.masks)
    figures: dict[str, Figure] = {}
    for name, each in values.items():
        capped = np.minimum(each, EQUAL)  # dB; SSIM is at most 1
        figures[name] = figure_of(np.where(case.is_swapped, capped, np.nan), case.times, None, "higher")
    return {**figures, "flicker": column.figures["flicker"]}


def _source_faceset(
    source: Path, options: EvaluateOptions, merging: MergeOptions, workspace: Path, events: Events
) -> Faceset:
    """The faceset given, or one made of the footage given."""
    if source.is_dir() and (source / "extract.json").is_file():
        return Faceset.open(source)
    who = (str(source.resolve()), str(options.source_reference), options.source_identity, str(merging.rate))
    folder = workspace / f"evaluation-source-{hashlib.sha256(repr(who).encode()).hexdigest()[:8]}"
    try:
        extract(
            source,
            folder,
            ExtractOptions(reference=options.source_reference, identity=options.source_identity, rate=merging.rate),
            events,
        )
    except SeveralError as error:
        raise SeveralError(f"{error}: --source-identity NUMBER or --source-reference PICTURE") from error
    return Faceset.open(folder)


def _merge_call(render: Path) -> dict[str, Any]:
    """The call saved beside one of visagist's own renders; nothing beside another."""
    saved = render.with_name(render.name + ".toml")
    return read_toml(saved) if saved.is_file() else {}


def _merge_options(call: Mapping[str, Any], options: EvaluateOptions) -> MergeOptions:
    """How the render was merged, as far as that is known."""
    known = {name: call[name] for name in MergeOptions.model_fields if name in call and name != "matte"}
    if options.performer is not None or options.performer_reference is not None:
        known |= {"performer": options.performer, "performer_reference": options.performer_reference}
    if options.rate is not None:
        known["rate"] = options.rate
    return MergeOptions.parse({**known, "deinterlace": options.deinterlace or known.get("deinterlace", False)}, "call")


def _performer(target: Path, table: FaceTable, merging: MergeOptions, workspace: Path) -> int:
    try:
        return choose_identity(table, merging.performer_reference, merging.performer, workspace)
    except SeveralError as error:
        raise SeveralError(f"{target}: {error}: --performer NUMBER or --performer-reference PICTURE") from error
    except NoFaceError as error:
        raise NoFaceError(f"{target}: {error}") from error


def _offset(
    options: EvaluateOptions, merging: MergeOptions, target: Footage, render: Footage, table: FaceTable
) -> float:
    """s to add to the render's times: what the user says, or where a known excerpt starts."""
    if options.offset is not None:
        return options.offset
    first, _ = frame_range(merging.frames)
    if first == 0:
        return 0.0
    if rate := number_rate(target, render):
        return float(first / rate)
    with Reader(target, first=first, last=first, deinterlace=merging.deinterlace, seek=not table.lost) as reader:
        start = next(iter(reader)).time
    return float(start - render.start)


def _settings(options: EvaluateOptions, merging: MergeOptions, run: TrainedNetwork | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "evaluation": options.model_dump(mode="json", exclude_none=True),
        "merge": merging.model_dump(mode="json", exclude_none=True),
    }
    if run is not None:
        found["run"] = {"weights_sha256": run.weights_sha256, **run.record.model_dump(mode="json", exclude_none=True)}
    return found
