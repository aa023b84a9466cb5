"""`visagist train`: two facesets to a run."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.computing import training_is_possible
from visagist.core.events import EventCallback, Note
from visagist.training import Run, TrainOptions


def train(
    source: Path,
    target: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    others: Annotated[dict[str, Path] | None, Parameter(name="--others")] = None,
    options: Annotated[TrainOptions, Parameter(name="*", validator=training_is_possible)] = TrainOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Run:
    """Train a network on the facesets SOURCE (whose face will appear) and TARGET (the performer).

    Ctrl-C and SIGTERM save; the same command goes on. A finished run that is asked for more trains on.

    Parameters
    ----------
    source:
        Faceset of the person whose face will appear.
    target:
        Faceset of the performer.
    output:
        The folder of the run.
    others:
        Facesets of more people by names of their own, such as --others.anna faces/anna; a merge then takes --person.
    """
    events(Note("train", "merging will ask for the consent of both people: `visagist consent new`"))
    return visagist.train(source, target, output, others=others, options=options, on_event=events)
