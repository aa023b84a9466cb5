"""Bounded readers: hostile files get one clear line, before memory is allocated or anything blocks."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagist.core.errors import ReadError
from visagist.core.files import sha256
from visagist.core.read import parse_json, parse_toml, read_bytes, read_json, read_table, read_toml
from visagist.core.text import printable

READERS = [read_bytes, read_json, read_toml, read_table]


@pytest.mark.parametrize("read", READERS)
def test_only_regular_files_are_read(read: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        (tmp_path / "fifo", "is a FIFO"),
        (Path("/dev/zero"), "is a device"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "no such file"),
    ):
        with pytest.raises(ReadError, match=message):
            read(path)
    with pytest.raises(OSError, match="regular"):
        sha256(tmp_path / "fifo")


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 101)
    with pytest.raises(ReadError, match="larger than"):
        read_bytes(tmp_path / "large", 100)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        '{"a":' * 5000,
        "NaN",
        "[Infinity]",
        "1e400",
        "9" * 5000,
        "{",
        "",
        "\x00",
        '"\\ud800',
        '"\\uD800"',
        "[1,]",
        b"\xff",
    ],
)
def test_bad_json_is_one_error(text: str | bytes) -> None:
    with pytest.raises(ReadError, match=r"^notes\.json: not"):
        parse_json(text, "notes.json")


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a", "a = 1\na = 2", "a = {" * 5000, b"a = '\xff'"]
)
def test_bad_toml_is_one_error(text: str | bytes) -> None:
    with pytest.raises(ReadError, match=r"^run\.toml: not"):
        parse_toml(text, "run.toml")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(values)
def test_json_reads_back(value: Any) -> None:
    assert parse_json(json.dumps(value), "x") == value


def test_one_long_text_repeated_in_every_row_is_refused(tmp_path: Path) -> None:
    """4 GB of text in a file of a few kilobytes."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"record": text}), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    with pytest.raises(ReadError, match="larger than 1024 MB"):
        read_table(tmp_path / "bomb.parquet")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    buffer = pa.py_buffer(b"\xff\xfe")
    text = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), buffer)
    pq.write_table(pa.table({"record": text}), tmp_path / "x.parquet")
    with pytest.raises(ReadError, match=r"x\.parquet: not a Parquet table"):
        read_table(tmp_path / "x.parquet")


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    shown = printable(text)
    assert all(letter.isprintable() or letter == " " or ord(letter) > 127 for letter in shown)
    assert not set(shown) & set("\x1b\n\r\x9b\u202e\u2028")
    assert printable(text, keep="\n").count("\n") == text.count("\n")
