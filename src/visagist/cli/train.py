"""`visagist train`."""

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

    Ctrl-C and SIGTERM save; the same command continues. To continue a finished run, raise its iterations or minutes.

    Parameters
    ----------
    source:
        Faceset of the subject whose face will appear.
    target:
        Faceset of the performer.
    output:
        Folder of the run.
    others:
        Facesets of more subjects by name, such as --others.anna faces/anna; choose one in a merge with --person.
    """
    events(Note("train", "merging will ask for the consent of both people: `visagist consent new`"))
    return visagist.train(source, target, output, others=others, options=options, on_event=events)
