"""State and statistics of an extraction, stored as `extract.json` in the faceset."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from visagist.core.errors import FacesetError, ReadError
from visagist.core.files import write_atomic
from visagist.core.read import read_json

STATE = "extract.json"


@dataclass(frozen=True)
class ExtractSummary:
    """Statistics of a finished extraction."""

    crops: int
    frames: int  # of all footage
    faces: int  # of the subject, before filtering
    identity: int
    left_out: dict[str, int]  # number of faces by reason
    others: int  # faces of other people

    def as_text(self) -> str:
        """Summary in one line."""
        text = f"{self.crops} crops of {self.faces} faces in {self.frames} frames"
        reasons = listed_reasons(self.left_out)
        return f"{text}; left out: {reasons}" if reasons else text


@dataclass(frozen=True)
class Extraction:
    """The state of an extraction."""

    key: dict[str, Any]  # everything that determines the crops
    summary: ExtractSummary | None  # None until finished

    @classmethod
    def load(cls, faceset: Path) -> "Extraction | None":
        """Load the state of a faceset, None if it has none.

        Raises:
            FacesetError: the file is damaged.
        """
        path = faceset / STATE
        try:
            return None if not path.exists() else _EXTRACTION.validate_python(read_json(path))
        except (ReadError, ValidationError) as error:
            raise FacesetError(
                f"{path}: damaged; delete it and run extract again, which keeps existing crops"
            ) from error

    def save(self, faceset: Path) -> None:
        """Write the state to a faceset's folder.

        Raises:
            OutputError: the file cannot be written.
        """
        write_atomic(faceset / STATE, json.dumps(asdict(self), indent=1))


_EXTRACTION = TypeAdapter(Extraction)


def listed_reasons(left_out: dict[str, int]) -> str:
    """Nonzero counts with their reasons, as text."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
