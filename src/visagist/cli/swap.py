"""`visagist swap`: extracts, trains, merges and signs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.command import PEOPLE, SourceConsent, TargetConsent, command
from visagist.cli.computing import training_is_possible
from visagist.core.events import EventCallback
from visagist.jobs.merge import Render
from visagist.media import EncodeOptions
from visagist.merging import MergeOptions
from visagist.training import TrainOptions

app = command("swap")


@app.default
def swap(
    source: Path,
    target: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    source_consent: SourceConsent,
    target_consent: TargetConsent,
    workspace: Path | None = None,
    identity: Annotated[int | None, Parameter(group=PEOPLE)] = None,
    reference: Annotated[Path | None, Parameter(group=PEOPLE)] = None,
    training: Annotated[TrainOptions, Parameter(name="*", validator=training_is_possible)] = TrainOptions(),  # noqa: B008 - frozen
    merging: Annotated[MergeOptions, Parameter(name="*")] = MergeOptions(),  # noqa: B008 - frozen
    encoding: Annotated[EncodeOptions, Parameter(name="*")] = EncodeOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Render:
    """Replace the performer's face in TARGET by the face in SOURCE: extract, train, merge and sign.

    If interrupted, run the same command again to continue; finished steps are not repeated.

    A first look at the result after ten minutes, then a render of 300 frames from a night of training:

    ```
    visagist swap clips/anna/ scene12.mov -o draft.mp4 --preset draft \\
        --source-consent anna.toml --target-consent bert.toml

    visagist swap clips/anna/ scene12.mov -o final.mov --minutes 480 \\
        --frames 0-299 --source-consent anna.toml --target-consent bert.toml
    ```

    Parameters
    ----------
    source:
        Footage of the subject whose face will appear: a video, an image sequence, or a folder of videos or photos.
    target:
        Footage of the performer, whose face is replaced: a video or an image sequence.
    output:
        The render: .mp4, .mov, .mkv, or a folder for an image sequence (OpenEXR if the target is, else PNG).
    workspace:
        Folder for facesets, the run and unfinished work. By default OUTPUT.workspace beside the output.
    identity:
        Number of the source subject, if SOURCE shows several people. Without a choice, the command writes `people.png`
        with their numbers.
    reference:
        A picture of the source subject, instead of the number.
    """
    return visagist.swap(
        source,
        target,
        output,
        source_consent=source_consent,
        target_consent=target_consent,
        workspace=workspace,
        identity=identity,
        reference=reference,
        training=training,
        merging=merging,
        encoding=encoding,
        on_event=events,
    )
