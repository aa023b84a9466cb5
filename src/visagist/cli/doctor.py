"""`visagist doctor`: what this machine offers."""

from dataclasses import dataclass
from typing import Any

import visagist
from visagist.jobs.diagnostics import Finding


@dataclass(frozen=True)
class Examination:
    """All that was found."""

    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Nothing that visagist needs is missing."""
        return all(finding.is_well for finding in self.findings)

    def as_text(self) -> str:
        """A line for each, with the remedy where one is needed."""
        return "\n".join(finding.as_text() for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ok": self.ok, "findings": [finding.as_json() for finding in self.findings]}


def doctor() -> Examination:
    """Print what this machine offers - device, precision, codecs, face models - and what to do about what is missing.

    Exit code 1 when something that visagist needs is missing.
    """
    return Examination(visagist.examine())
