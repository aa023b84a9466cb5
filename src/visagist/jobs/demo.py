"""The demo: a swap of the bundled footage."""

import time
from pathlib import Path

from visagist.core.events import EventCallback, Note, silent
from visagist.core.types import StrPath
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.jobs.merge import Render
from visagist.jobs.swap import STEP, swap
from visagist.jobs.workspace import DONE, default_workspace
from visagist.training import TrainOptions
from visagist.training.budget import estimate_seconds

ITERATIONS = 900  # less than four minutes on two AVX2 cores; metrics: docs/explanation/evaluation.md
OPTIONS = {"batch": 4, "augmentation": {"driven": 0}}  # the two look similar: driven faces would show the fringe
OTHER_SECONDS = 60  # for everything but the training, on two cores


def demo_swap(
    output: StrPath,
    *,
    iterations: int | None = None,
    device: str = "auto",
    on_event: EventCallback | None = None,
) -> Render:
    """Swap the bundled source speaker into the bundled target.

    Args:
        output: as in `swap`.
        iterations: training iterations; the default gives a convincing face, fewer a blurred one sooner.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        on_event: callback receiving an estimate of the time, then progress.

    Raises:
        VisagistError: as `swap`.
    """
    events = on_event or silent
    length = ITERATIONS if iterations is None else iterations
    training = TrainOptions.parse({"iterations": length, "device": device, **OPTIONS}, "demo")
    started = time.monotonic()
    if not (default_workspace(Path(output)) / DONE).is_file():
        seconds = estimate_seconds(training) + OTHER_SECONDS
        events(Note(STEP, f"this takes about {max(1, round(seconds / 60))} minutes on this machine"))
    render = swap(
        SOURCE,
        TARGET,
        output,
        source_consent=SOURCE_CONSENT,
        target_consent=TARGET_CONSENT,
        training=training,
        on_event=events,
    )
    events(Note(STEP, f"took {(time.monotonic() - started) / 60:.1f} minutes"))
    return render
