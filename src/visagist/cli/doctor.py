"""`visagist doctor`: what this machine offers."""

from dataclasses import dataclass
from typing import Any

import visagist
from visagist.cli.command import command
from visagist.jobs.diagnostics import Finding

app = command("doctor")


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


@app.default
def doctor() -> Examination:
    """Check this machine - devices, precision, codecs, face models - and print a remedy for each problem.

    Exit code 1 if something that visagist needs is missing.

    ```
    visagist doctor
    ```
    """
    return Examination(visagist.examine())
