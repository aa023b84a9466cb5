"""`visagist demo`: a swap of the footage that travels with the package."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import visagist
from visagist.events import Events
from visagist.merging import MergeSummary


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo-output/swap.mp4"),
    iterations: int | None = None,
    device: str = "auto",
    events: Annotated[Events, Parameter(parse=False)],
) -> MergeSummary:
    """Swap the bundled source speaker into the bundled target; the last line printed is the render's path.

    Parameters
    ----------
    output:
        The render.
    device:
        auto, cpu, mps, cuda or cuda:N.
    iterations:
        Training iterations; the default gives a convincing face, few give a blurred one quickly.
    """
    return visagist.demo_swap(output, iterations, device, events)
