"""Readers with limits: what comes from a file is hostile until it is parsed.

They open regular files only (a FIFO would block forever), check sizes before they allocate, and raise `ReadError`,
which names the file. Callers add the remedy.
"""

import errno
import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from visagist.core.errors import ReadError
from visagist.core.files import without_waiting

MAX_TEXT = 64 << 20  # bytes of JSON, TOML and event logs
MAX_TABLE = 1 << 30  # bytes of a Parquet table in memory: half a day of faces
ROWS = 1024  # of a table that are read at once
MAX_PIXELS = 1 << 27  # of a picture or frame: 16384 x 8192
MAX_DEPTH = 64  # of nested JSON arrays and objects
MAX_DIGITS = 18  # of integers: all fit into 64 bits

_NOT_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[^"\[\]{}]+', re.DOTALL)


def read_bytes(path: Path, limit: int = MAX_TEXT) -> bytes:
    """Contents of a regular file.

    Args:
        path: the file; links to regular files are followed.
        limit: maximum size in bytes.

    Raises:
        ReadError: it is missing, unreadable, no regular file, or too large.
    """
    try:
        with open(path, "rb", opener=without_waiting) as file:
            _check_regular(path, os.fstat(file.fileno()))
            data = file.read(limit + 1)  # the size in its entry may be out of date
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > limit:
        raise ReadError(f"{path}: larger than {limit >> 20} MB, which no such file is")
    return data


def check_regular(path: Path) -> None:
    """Check that a path that a library will open is a regular file.

    Raises:
        ReadError: it is missing, or something else, such as a FIFO or a device.
    """
    try:
        _check_regular(path, path.stat())
    except OSError as error:
        raise _unreadable(path, error) from error


def read_json(path: Path, limit: int = MAX_TEXT) -> Any:
    """Contents of a JSON file; errors as for `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path, limit), path)


def read_toml(path: Path, limit: int = MAX_TEXT) -> dict[str, Any]:
    """Contents of a TOML file; errors as for `read_bytes` and `parse_toml`."""
    return parse_toml(read_bytes(path, limit), path)


def parse_json(data: bytes | str, where: Path | str) -> Any:
    """Parse JSON.

    Raises:
        ReadError: it is not JSON, is nested too deeply, or has a number that is not finite or not of 64 bits; `where`
            is named.
    """
    text = _decoded(data, where)
    _check_depth(text, where)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number")

    def finite(digits: str) -> float:
        value = float(digits)
        return value if abs(value) != float("inf") else refuse(digits[:20])

    try:
        found = json.loads(text, parse_constant=refuse, parse_int=_integer, parse_float=finite)
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair cannot be written or shown
    except ValueError as error:
        raise ReadError(f"{where}: not valid JSON ({error})") from error
    return found


def parse_toml(data: bytes | str, where: Path | str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ReadError: it is not TOML, or is nested too deeply; `where` is named.
    """
    text = _decoded(data, where)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ReadError(f"{where}: not valid TOML (nested too deeply)") from error
    except ValueError as error:  # also of integers with thousands of digits
        raise ReadError(f"{where}: not a TOML file ({error})") from error


def _decoded(data: bytes | str, where: Path | str) -> str:
    try:
        return data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise ReadError(f"{where}: not UTF-8 text (byte {error.start})") from error


def _check_depth(text: str, where: Path | str) -> None:
    """Check the nesting before parsing, because Python's parser is recursive."""
    depth = 0
    for bracket in _NOT_BRACKETS.sub("", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise ReadError(f"{where}: not valid JSON (nested too deeply)")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise ReadError(f"{path}: is {kinds.get(stat.S_IFMT(found.st_mode), 'a device')}, not a file")


def _unreadable(path: Path, error: OSError) -> ReadError:
    if error.errno == errno.ENOENT:
        return ReadError(f"{path}: no such file")
    if error.errno == errno.EISDIR:
        return ReadError(f"{path}: is a folder, not a file")
    return ReadError(f"{path}: cannot be read ({error.strerror})")


def read_table(path: Path, limit: int = MAX_TABLE) -> Any:
    """A Parquet file as a `pyarrow.Table`, with valid UTF-8 and texts that fit into memory.

    Args:
        path: the file.
        limit: maximum size in bytes of the whole table in memory, and of all texts when each row has its own copy:
            one long text may stand in the dictionary of a small file, and in every row of the table.

    Raises:
        ReadError: it is missing, not Parquet, damaged, or too large.
    """
    import pyarrow as pa  # here, because they take long to import and most commands need no table
    import pyarrow.parquet as pq

    check_regular(path)
    try:
        with path.open("rb") as handle:  # pyarrow would take a name such as a:b for a URL
            kinds = pq.ParquetFile(handle).schema_arrow
            texts = [field.name for field in kinds if _is_text(field.type)]
            handle.seek(0)
            file, batches, size = pq.ParquetFile(handle, read_dictionary=texts, page_checksum_verification=True), [], 0
            for batch in file.iter_batches(ROWS):
                batch.validate(full=True)
                size += batch.nbytes + sum(_text_bytes(batch.column(name)) for name in texts)
                if size > limit:
                    raise ReadError(f"{path}: larger than {limit >> 20} MB, which no such table is")
                batches.append(batch)
            table = pa.Table.from_batches(batches, file.schema_arrow)
            return table.cast(kinds) if texts else table
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReadError(f"{path}: not a Parquet table ({reason})") from error


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind)


def _text_bytes(column: Any) -> int:
    """Size of a dictionary-encoded column of texts with a copy for each row."""
    lengths = np.array([len(each.as_buffer()) if each.is_valid else 0 for each in column.dictionary], np.int64)
    return int(lengths[column.indices.fill_null(0).to_numpy()].sum()) if len(lengths) else 0
