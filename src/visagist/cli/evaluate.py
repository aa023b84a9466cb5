"""`visagist evaluate`: how good a render is."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.computing import device_is_named
from visagist.core.events import EventCallback
from visagist.evaluation import Evaluation
from visagist.jobs.evaluate import EvaluateOptions


def report_is_html(_: type, path: Path | None) -> None:
    """Refuse a --report that is not an HTML file.

    Raises:
        ValueError: it is not.
    """
    if path is not None and path.suffix not in (".html", ".htm"):
        raise ValueError(f"{path.name} must end in .html; the figures go into a .json beside it")


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
    """Measure RENDER, of any tool, against its target and its source.

    Prints every figure beside those of the unswapped target, a copy-paste of the real source, and the detectors' own
    noise. No single figure is quality.

    Parameters
    ----------
    render:
        The video or image sequence that is judged.
    target:
        The footage that was changed; frames are matched by presentation time.
    source:
        Faceset or footage of the person whose face appears.
    run:
        The run that made the render; gives the merge's own mask, the planes before encoding, and the reconstruction
        of validation faces.
    report:
        HTML page with everything; figures and curves go into a .json beside it.
    workspace:
        Folder for face tables; RENDER.workspace by default, where a swap keeps them.
    device:
        auto, cpu, mps, cuda or cuda:N.
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
