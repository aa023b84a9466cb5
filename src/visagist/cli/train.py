"""`visagist train`: two facesets to a run."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.events import Events, Note
from visagist.training import TrainOptions


def train(
    source: Path,
    target: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions(),  # noqa: B008 - frozen
    events: Annotated[Events, Parameter(parse=False)],
) -> None:
    """Train a network on the facesets SOURCE (whose face will appear) and TARGET (the performer).

    Ctrl-C saves; the same command goes on.

    Parameters
    ----------
    output:
        The folder of the run.
    """
    events(Note("train", "merging will ask for the consent of both people: `visagist consent new`"))
    summary = visagist.train(source, target, output, options, events)
    print(summary.as_text())
