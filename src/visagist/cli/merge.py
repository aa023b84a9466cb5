"""`visagist merge`: merges a run into a target, or previews that."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.command import SourceConsent, TargetConsent, command
from visagist.cli.computing import device_is_named
from visagist.core.errors import ConfigError
from visagist.core.events import EventCallback, Note
from visagist.jobs.merge import Render
from visagist.jobs.preview import Preview, parse_frames
from visagist.media import EncodeOptions
from visagist.merging import MergeOptions

app = command("merge")


def frames_are_listed(_: type, frames: str | None) -> None:
    """Raise `ValueError` for a --preview that is not a list of frames."""
    if frames is not None:
        try:
            parse_frames(frames)
        except ConfigError as error:
            raise ValueError(str(error)) from error


@app.default
def merge(
    target: Path,
    *,
    run: Path | None = None,
    output: Annotated[Path, Parameter(alias="-o")],
    source_consent: SourceConsent,
    target_consent: TargetConsent,
    workspace: Path | None = None,
    preview: Annotated[str | None, Parameter(validator=frames_are_listed)] = None,
    device: Annotated[str, Parameter(validator=device_is_named)] = "auto",
    options: Annotated[MergeOptions, Parameter(name="*")] = MergeOptions(),  # noqa: B008 - frozen
    encoding: Annotated[EncodeOptions, Parameter(name="*")] = EncodeOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Render | Preview:
    """Put the face of a trained run into TARGET, and sign the render as synthetic.

    TARGET can be any footage of the same performer; no further training is needed. If interrupted, run the same command
    again to continue.

    A preview of three frames with another mask, then the whole render:

    ```
    visagist merge scene12.mov --run runs/anna-bert -o look.png --preview 10,50,80 --mask hull \\
        --source-consent anna.toml --target-consent bert.toml

    visagist merge scene12.mov --run runs/anna-bert -o scene12-anna.mov \\
        --source-consent anna.toml --target-consent bert.toml
    ```

    Parameters
    ----------
    target:
        Footage of the performer.
    run:
        Folder of a trained run. Required, except with `--allow-no-face` for a target without faces.
    output:
        The render: .mp4, .mov, .mkv, or a folder for an image sequence (OpenEXR if the target is, else PNG).
    workspace:
        Folder for face tables and unfinished work. By default OUTPUT.workspace beside the output. With `--preview`: the
        workspace of a merge or swap of TARGET, whose face table is used; by default the folder that contains the run.
    device:
        Where to compute: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
    preview:
        Instead of a render, write a signed PNG that shows these frames before, after and with their masks: numbers and
        ranges such as 10,50-52. `--frames`, `--matte` and the encoding options do not apply.
    """
    if preview is not None:
        if run is None:
            raise ConfigError("a preview needs --run, the folder of a trained run")
        given = {"frames": options.frames, "matte": options.matte, **encoding.model_dump()}
        ignored = ", ".join(f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None)
        if ignored:
            events(Note("preview", f"ignored, because they apply to renders only: {ignored}"))
        return visagist.preview(
            target,
            output,
            run=run,
            frames=preview,
            source_consent=source_consent,
            target_consent=target_consent,
            workspace=workspace,
            device=device,
            options=options,
            on_event=events,
        )
    return visagist.merge(
        target,
        output,
        run=run,
        source_consent=source_consent,
        target_consent=target_consent,
        workspace=workspace,
        device=device,
        options=options,
        encoding=encoding,
        on_event=events,
    )
