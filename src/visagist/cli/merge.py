"""`visagist merge`: a run and a target to a signed render."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.computing import device_is_named
from visagist.core.errors import ConfigError
from visagist.core.events import EventCallback, Note
from visagist.jobs.consent_checks import both_given
from visagist.jobs.merge import Render
from visagist.jobs.preview import Preview, parse_frames
from visagist.media import EncodeOptions
from visagist.merging import MergeOptions


def frames_are_listed(_: type, frames: str | None) -> None:
    """Refuse a --preview that is no list of frames.

    Raises:
        ValueError: it is none.
    """
    if frames is not None:
        try:
            parse_frames(frames)
        except ConfigError as error:
            raise ValueError(str(error)) from error


def merge(
    target: Path,
    *,
    run: Path | None = None,
    output: Annotated[Path, Parameter(alias="-o")],
    source_consent: Path | None = None,
    target_consent: Path | None = None,
    workspace: Path | None = None,
    preview: Annotated[str | None, Parameter(validator=frames_are_listed)] = None,
    device: Annotated[str, Parameter(validator=device_is_named)] = "auto",
    options: Annotated[MergeOptions, Parameter(name="*")] = MergeOptions(),  # noqa: B008 - frozen
    encoding: Annotated[EncodeOptions, Parameter(name="*")] = EncodeOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Render | Preview:
    """Put the face of a trained run into TARGET, and sign the render as synthetic.

    Any footage of the same performer will do; the run is not trained again. Interrupted, the same command goes on.

    Parameters
    ----------
    target:
        The footage that is changed; it must show the performer.
    run:
        Folder of a trained run; not needed for a target that shows nobody, with --allow-no-face.
    output:
        The render: .mp4, .mov, .mkv, or a folder for an image sequence (OpenEXR if the target is, else PNG).
    source_consent:
        Consent record of the person whose face appears.
    target_consent:
        Consent record of the performer in TARGET.
    workspace:
        Folder for what is kept on the way; beside the output by default. For a preview: the one of a merge or swap of
        TARGET, whose looks at it are used; by default the folder that the run lies in.
    device:
        auto, cpu, mps, cuda or cuda:N.
    preview:
        Frames such as 10,50,80: write only a signed before/after/mask sheet of them, as a PNG, to the output. Options
        of a whole render (--frames, --matte, --codec, --crf, --encoder-preset) do not count then.
    """
    source_record, target_record = both_given(source_consent, target_consent)
    if preview is not None:
        if run is None:
            raise ConfigError("a preview needs --run, the folder of a trained run")
        given = {"frames": options.frames, "matte": options.matte, **encoding.model_dump()}
        ignored = ", ".join(f"--{name}" for name, value in given.items() if value is not None)
        if ignored:
            events(Note("preview", f"of a whole render, and not of a preview: {ignored}"))
        return visagist.preview(
            target,
            output,
            run=run,
            frames=preview,
            source_consent=source_record,
            target_consent=target_record,
            workspace=workspace,
            device=device,
            options=options,
            on_event=events,
        )
    return visagist.merge(
        target,
        output,
        run=run,
        source_consent=source_record,
        target_consent=target_record,
        workspace=workspace,
        device=device,
        options=options,
        encoding=encoding,
        on_event=events,
    )
