"""`visagist pretrain`: facesets of many people to a run that others begin with."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.cli.computing import training_is_possible
from visagist.core.events import EventCallback
from visagist.training import Run, TrainOptions


def pretrain(
    folder: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    options: Annotated[TrainOptions, Parameter(name="*", validator=training_is_possible)] = TrainOptions(),  # noqa: B008 - frozen
    events: Annotated[EventCallback, Parameter(parse=False)],
) -> Run:
    """Train a network on all people in FOLDER, for `visagist train --start` to fit to two of your own.

    Ctrl-C and SIGTERM save; the same command goes on. A pretraining draws nobody in particular: it cannot be merged.

    Parameters
    ----------
    folder:
        Facesets, one a person, at any depth; or one faceset of many people.
    output:
        The folder of the run, outside of FOLDER.
    """
    return visagist.pretrain(folder, output, options=options, on_event=events)
