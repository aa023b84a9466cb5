"""The folder of a production, and the swap that fills it.

    OUT.workspace/
      visagist.toml    the resolved call, so that `visagist swap --config` of it repeats everything
      source/ target/  the facesets
      run/             the training
      tables/          what each frame of the target shows
      merge/           chunks of an unfinished render

- `swap`: extract, train, merge, sign; every step continues where it stopped and redoes nothing that is done
- `new_consent`: write a consent record, its pictures looked at by `faces`, which `provenance` must not know
- `demo_swap`: a swap of the footage that travels with the package
"""

import json
import time
from functools import partial
from pathlib import Path

from visagist import provenance
from visagist.core.device import choose
from visagist.core.errors import FacesetError, NoFaceError, OutputError, SeveralError
from visagist.core.events import Events, Note
from visagist.core.files import write_atomic
from visagist.core.settings import Settings, save_call
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.faces import picture_embeddings
from visagist.faceset import Faceset, is_alone
from visagist.jobs.consent_checks import Records, check_footage
from visagist.jobs.extract import ExtractOptions, extract
from visagist.jobs.merge import OWN, MergeSummary, claim_folder, default_workspace, merge
from visagist.jobs.output_paths import check_output, made_from
from visagist.jobs.train import train
from visagist.media import EncodeOptions, find_footage, note_rate, probe
from visagist.merging import MergeOptions
from visagist.merging.options import check_frames
from visagist.models import configure
from visagist.provenance import Signer
from visagist.training import TrainOptions
from visagist.training.budget import estimate_seconds

STEP = "swap"
DONE = "done.json"  # what the finished render was made from
DEMO_ITERATIONS = 3600  # of 8 faces; 20 minutes on two cores without AMX
OTHER_SECONDS = 60  # of a demo, besides the training, on two cores


class SourceOptions(Settings):
    """Who is meant, where the source shows several people."""

    source_reference: Path | None = None
    """A picture of the person whose face will appear."""

    source_identity: int | None = None
    """The same by the number that the list of several people gives."""


def swap(
    source: Path,
    target: Path,
    output: Path,
    source_consent: Path | None,
    target_consent: Path | None,
    choice: SourceOptions,
    training: TrainOptions,
    merging: MergeOptions,
    encoding: EncodeOptions,
    workspace: Path | None,
    events: Events,
) -> MergeSummary:
    """Replace the performer's face in `target` by the face in `source`, and sign the render as synthetic.

    Args:
        source: a file or a folder of footage of the person whose face will appear.
        target: footage of the performer.
        output: `.mp4`, `.mov`, `.mkv`, or a folder for a PNG sequence.
        source_consent: consent record of the person in `source`.
        target_consent: consent record of the performer.
        choice: who is meant, where the source shows several people.
        training: the network, and how long it learns.
        merging: how the face goes in, and who of several performers is meant.
        encoding: codec, quality, speed.
        workspace: the folder of the production; None: `OUTPUT.workspace` beside the output.
        events: told progress and warnings.

    Raises:
        VisagistError: what `extract`, `train` and `merge` raise; consent and safeguard are checked before the training.
    """
    # All that can be refused at once is refused here, before any long work.
    workspace = workspace or default_workspace(output)
    records = Records.load(source_consent, target_consent)
    clips = find_footage(source, merging.rate)
    footage = probe(target, merging.rate)
    note_rate([*clips, footage], STEP, events)
    encoding.resolved(footage, output)
    check_frames(merging.frames, footage, output)
    Signer.default()
    if training.preset is None or "model" in training.model_fields_set:  # else the preset has yet to choose one
        configure(training.model, training.settings)
    choose(training.device)
    check_output(
        output,
        merging.matte,
        workspace,
        [
            *made_from([*clips, footage], records),
            *(path for path in (choice.source_reference, merging.performer_reference) if path is not None),
            *(workspace / name for name in ("source", "target", "run", *OWN)),
        ],
    )
    for name, clip in [(name, clip) for name in ("source", "target", "run") for clip in (*clips, footage)]:
        home = (workspace / name).resolve()
        if home in (clip.path.resolve(), *clip.path.resolve().parents):
            raise OutputError(f"{clip.path}: lies where the swap would put its own {name}; choose another --workspace")
    claim_folder(workspace)
    claim_folder(output.parent)
    call = {
        "source": source,
        "target": target,
        "output": output,
        "source_consent": source_consent,
        "target_consent": target_consent,
        "workspace": workspace,
        **choice.model_dump(),
        # What a preset leaves open is decided when the run begins, and written down there.
        **training.model_dump(exclude_unset=training.preset is not None),
        **merging.model_dump(),
        **encoding.model_dump(),
    }
    done = workspace / DONE
    stamps = json.dumps([str(call), *(clip.stamps() for clip in [*clips, footage])])
    is_done = done.is_file() and done.read_text(encoding="utf-8") == stamps
    save_call(workspace / "visagist.toml", call)
    faceset_source, faceset_target, run = workspace / "source", workspace / "target", workspace / "run"
    finish = partial(
        merge,
        target,
        output=output,
        source_consent=source_consent,
        target_consent=target_consent,
        options=merging,
        encoding=encoding,
        workspace=workspace,
        device=training.device,
        events=events,
    )
    if is_done and output.exists():
        return finish(run=run)
    try:
        found = extract(
            clips,
            faceset_source,
            ExtractOptions(
                reference=choice.source_reference,
                identity=choice.source_identity,
                rate=merging.rate,
                deinterlace=merging.deinterlace,
            ),
            events,
        )
    except SeveralError as error:
        raise SeveralError(f"{error}: --source-identity NUMBER or --source-reference PICTURE") from error
    faces_source = Faceset.open(faceset_source)
    # A hash of footage that shows several people says nothing of which of them agreed.
    covered = set(faces_source.footage_hashes) if is_alone(faces_source) else set()
    records.check_source(covered, faces_source.centroid())
    try:
        found = extract(
            footage,
            faceset_target,
            ExtractOptions(
                reference=merging.performer_reference,
                identity=merging.performer,
                rate=merging.rate,
                deinterlace=merging.deinterlace,
                allow_damaged=merging.allow_damaged,
            ),
            events,
            tables=workspace / "tables",
        )
    except SeveralError as error:
        raise SeveralError(f"{error}: --performer NUMBER or --performer-reference PICTURE") from error
    except NoFaceError as error:
        if merging.allow_no_face:
            return finish(run=None)
        raise NoFaceError(f"{error}; --allow-no-face passes it through untouched") from error
    faces_target = Faceset.open(faceset_target)
    if len(faces_target.footage_hashes) != 1:
        raise FacesetError(
            f"{faceset_target}: holds crops of other footage than {target}, whom a swap would be trained on; move them "
            "away, or call train and merge one by one"
        )
    (footage_sha256,) = faces_target.footage_hashes
    records.check_target(set() if found.others else {footage_sha256}, faces_target.centroid())
    check_footage(footage, footage_sha256, workspace / "safeguard")
    done.unlink(missing_ok=True)  # from here on the run may be half way to another length
    train(faceset_source, faceset_target, run, options=training, on_event=events)
    summary = finish(run=run)
    write_atomic(done, stamps)
    return summary


new_consent = partial(provenance.new_consent, embed=picture_embeddings)
new_consent.__doc__ = provenance.new_consent.__doc__


def demo_swap(output: Path, iterations: int | None, device: str, events: Events) -> MergeSummary:
    """Swap the bundled source speaker into the bundled target, with the records of the corpus.

    Args:
        output: as in `swap`.
        iterations: of the training, 1 or more; None: 3600, which give a convincing face.
        device: as in `device.choose`.
        events: told an estimate of the time first, then progress.

    Raises:
        VisagistError: what `swap` raises.
    """
    length = DEMO_ITERATIONS if iterations is None else iterations
    training = TrainOptions.parse({"iterations": length, "device": device}, "demo")
    started = time.monotonic()
    if not (default_workspace(output) / DONE).is_file():
        seconds = estimate_seconds(training) + OTHER_SECONDS
        events(Note(STEP, f"this takes about {max(1, round(seconds / 60))} minutes on this machine"))
    summary = swap(
        SOURCE,
        TARGET,
        output,
        SOURCE_CONSENT,
        TARGET_CONSENT,
        SourceOptions(),
        training,
        MergeOptions(),
        EncodeOptions(),
        None,
        events,
    )
    events(Note(STEP, f"took {(time.monotonic() - started) / 60:.1f} minutes"))
    return summary
