"""SMPTE timecode arithmetic."""

import re
from fractions import Fraction


def moved_timecode(code: str, frames: int, rate: Fraction | None) -> str | None:
    """The timecode `frames` frames after `code`; None if it is malformed or does not fit the rate.

    A semicolon or period before the frame number means drop-frame (29.97 and 59.94 fps only).

    >>> moved_timecode("01:00:59:24", 2, Fraction(25))
    '01:01:00:01'
    >>> moved_timecode("00:00:59;29", 1, Fraction(30000, 1001))
    '00:01:00;02'
    """
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", code.strip())
    if match is None or rate is None:
        return None
    counted = round(rate)
    if counted not in (24, 25, 30, 48, 50, 60) or abs(float(rate) - counted) > 0.1:
        return None
    hours, minutes, seconds, number = (int(match[group]) for group in (1, 2, 3, 5))
    dropping = match[4] != ":"
    if number >= counted or (dropping and counted not in (30, 60)):
        return None
    skipped = counted // 15 if dropping else 0
    total = ((hours * 60 + minutes) * 60 + seconds) * counted + number
    whole_minutes = hours * 60 + minutes
    total += frames - skipped * (whole_minutes - whole_minutes // 10)
    if dropping:
        ten, one = 600 * counted - 9 * skipped, 60 * counted - skipped
        tens, rest = divmod(total, ten)
        total += 9 * skipped * tens + (skipped * ((rest - skipped) // one) if rest >= skipped else 0)
    total %= 24 * 3600 * counted
    parts = (total // (3600 * counted), total // (60 * counted) % 60, total // counted % 60)
    return "{:02}:{:02}:{:02}".format(*parts) + f"{match[4]}{total % counted:02}"
