"""`visagist swap`: all four steps."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.computing import training_is_possible
from visagist.core.events import Events
from visagist.jobs.merge import MergeSummary
from visagist.jobs.swap import SourceOptions
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
    choice: Annotated[SourceOptions, Parameter(name="*")] = SourceOptions(),  # noqa: B008 - frozen
    training: Annotated[TrainOptions, Parameter(name="*", validator=training_is_possible)] = TrainOptions(),  # noqa: B008 - frozen
    merging: Annotated[MergeOptions, Parameter(name="*")] = MergeOptions(),  # noqa: B008 - frozen
    encoding: Annotated[EncodeOptions, Parameter(name="*")] = EncodeOptions(),  # noqa: B008 - frozen
    events: Annotated[Events, Parameter(parse=False)],
) -> MergeSummary:
    """Replace the performer's face in TARGET by the face in SOURCE: extract, train, merge, sign.

    Run again, it redoes nothing that is done; interrupted at any moment, the same command goes on.

    Parameters
    ----------
    source:
        A video, or a folder of videos or pictures, of the person whose face will appear.
    target:
        The footage that is changed.
    output:
        The render: .mp4, .mov, .mkv, or a folder for a PNG sequence.
    source_consent:
        Consent record of the person in SOURCE.
    target_consent:
        Consent record of the performer in TARGET.
    workspace:
        Folder of the production: facesets, run, unfinished chunks; beside the output by default.
    """
    return visagist.swap(
        source, target, output, source_consent, target_consent, choice, training, merging, encoding, workspace, events
    )
