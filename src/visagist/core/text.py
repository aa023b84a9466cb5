"""Text from files and file names, made safe for terminals and logs."""

import unicodedata

# Characters that move the cursor, change colours or reverse what is read: control and format characters (among them
# bidirectional overrides), surrogates from names that are not UTF-8, and line separators.
_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: object, keep: str = "") -> str:
    r"""Text with control characters escaped, so that no name or file can forge a line or recolour a terminal.

    Args:
        text: anything; `str` of it is taken.
        keep: control characters to keep, such as newlines in text of several lines.

    >>> printable("a" + chr(27) + "[2Jb" + chr(10) + "c")
    'a\\x1b[2Jb\\nc'
    """
    return "".join(
        letter
        if letter in keep or unicodedata.category(letter) not in _CATEGORIES
        else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def plural(count: int, noun: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
