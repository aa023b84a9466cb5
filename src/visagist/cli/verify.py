"""`visagist verify`: checks the content credentials of a file."""

from pathlib import Path

import visagist
from visagist.cli.command import command
from visagist.provenance import Verification

app = command("verify")


@app.default
def verify(file: Path) -> Verification:
    """Check who signed FILE, what was done to it, and whether it is intact.

    Exit code 0 if it has intact credentials, 1 if it has none or was tampered with.

    ```
    visagist verify final.mov
    ```

    Parameters
    ----------
    file:
        A render, a picture, or the folder of a rendered image sequence.
    """
    return visagist.verify(file)
