"""`visagist evaluate`: metrics of a render."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.command import command
from visagist.cli.computing import device_is_named
from visagist.core.events import EventCallback
from visagist.evaluation import Evaluation
from visagist.jobs.evaluate import EvaluateOptions

app = command("evaluate")


def report_is_html(_: type, path: Path | None) -> None:
    """Raise `ValueError` for a --report that is not an HTML file."""
    if path is not None and path.suffix not in (".html", ".htm"):
        raise ValueError(f"{path.name} must end in .html; values are written to a .json beside it")


@app.default
def evaluate(
    render: Path,
    *,
    target: Path,
    source: Path,
    run: Path | None = None,
    report: Annotated[Path | None, Parameter(validator=report_is_html)] = None,
    workspace: Path | None = None,
    device: Annotated[str, Parameter(validator=device_is_named)] = "auto",
    options: Annotated[EvaluateOptions, Parameter(name="*")] = EvaluateOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Evaluation:
    """Measure RENDER, made by any tool, against its target and its source.

    Prints each metric beside three references: the unswapped target, a copy-paste of the real source, and the noise of
    the detectors. No single metric is quality.

    ```
    visagist evaluate final.mov --target scene12.mov --source faces/anna \\
        --run runs/anna-bert --report final.html
    ```

    Parameters
    ----------
    render:
        The video or image sequence to measure.
    target:
        The footage that was changed; frames are matched by presentation time.
    source:
        Faceset or footage of the subject whose face appears.
    run:
        The run that made the render. It adds the reconstruction of its validation set, the mask of the merge, and the
        frames before encoding.
    report:
        HTML report; values and curves are written to a .json beside it.
    workspace:
        Folder for face tables. By default RENDER.workspace, where a swap keeps them.
    device:
        Where to compute: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
    """
    return visagist.evaluate(
        render,
        target,
        source,
        run=run,
        report=report,
        workspace=workspace,
        device=device,
        options=options,
        on_event=events,
    )
