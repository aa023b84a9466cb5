"""`visagist doctor`: what this machine offers."""

import json as json_module
from typing import Annotated

from cyclopts import Parameter

import visagist


def doctor(*, as_json: Annotated[bool, Parameter(parse=False)] = False) -> int:
    """Print what this machine offers - device, precision, codecs, face models - and what to do about what is missing.

    Exit code 1 when something that visagist needs is missing.
    """
    findings = visagist.examine()
    if as_json:
        print(json_module.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            print(finding.as_text())
    return 0 if all(finding.is_well for finding in findings) else 1
