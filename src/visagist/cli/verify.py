"""`visagist verify`: who signed a file, what was done, and is it intact."""

from pathlib import Path

import visagist
from visagist.provenance import Verification


def verify(file: Path) -> Verification:
    """Say who signed FILE, what was done to it, and whether it is intact.

    Exit code 0 when it carries intact credentials, 1 when it was tampered with or carries none.

    Parameters
    ----------
    file:
        A render, a picture, or the folder of a rendered image sequence.
    """
    return visagist.verify(file)
