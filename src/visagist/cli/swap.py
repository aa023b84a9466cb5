"""`visagist swap`: all four steps."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.computing import training_is_possible
from visagist.core.events import EventCallback
from visagist.jobs.consent_checks import both_given
from visagist.jobs.merge import Render
from visagist.media import EncodeOptions
from visagist.merging import MergeOptions
from visagist.training import TrainOptions


def swap(
    source: Path,
    target: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    source_consent: Path | None = None,
    target_consent: Path | None = None,
    workspace: Path | None = None,
    source_reference: Path | None = None,
    source_identity: int | None = None,
    training: Annotated[TrainOptions, Parameter(name="*", validator=training_is_possible)] = TrainOptions(),  # noqa: B008 - frozen
    merging: Annotated[MergeOptions, Parameter(name="*")] = MergeOptions(),  # noqa: B008 - frozen
    encoding: Annotated[EncodeOptions, Parameter(name="*")] = EncodeOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Render:
    """Replace the performer's face in TARGET by the face in SOURCE: extract, train, merge, sign.

    Interrupted at any moment, the same command continues; run again, it repeats nothing that is done.

    Parameters
    ----------
    source:
        A video, or a folder of videos or pictures, of the person whose face will appear.
    target:
        The footage that is changed.
    output:
        The render: .mp4, .mov, .mkv, or a folder for an image sequence (OpenEXR if the target is, else PNG).
    source_consent:
        Consent record of the person in SOURCE.
    target_consent:
        Consent record of the performer in TARGET.
    workspace:
        Folder of the production: facesets, run, unfinished chunks; beside the output by default.
    source_reference:
        A picture of the person whose face will appear, where SOURCE shows several people.
    source_identity:
        The same by the number that the list of several people gives.
    """
    source_record, target_record = both_given(source_consent, target_consent)
    return visagist.swap(
        source,
        target,
        output,
        source_consent=source_record,
        target_consent=target_record,
        workspace=workspace,
        identity=source_identity,
        reference=source_reference,
        training=training,
        merging=merging,
        encoding=encoding,
        on_event=events,
    )
