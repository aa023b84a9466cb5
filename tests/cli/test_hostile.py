"""Hostile files and names, through the real command line: one clear line and exit code 1."""

import importlib
import json
import os
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import CLIPS, SMALL, Swap, command, visagist
from visagist.core.tensors import load_hashed, save_tensors
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.faceset.record import read_crop, write_crop

CONSENTS = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)


def refused(*arguments: str | Path, code: int = 1) -> str:
    """The only line of an error, after events; fails on a traceback or after 60 s."""
    done = subprocess.run(command(*arguments), capture_output=True, timeout=60, check=False)
    err = done.stderr.decode("utf-8", "backslashreplace")
    assert done.returncode == code, err
    assert "Traceback" not in err
    assert not set(err) & {"\x1b", "\x9b", "\u202e"}
    return err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract", "FIFO", "-o", "out"),
        ("verify", "FIFO"),
        ("verify", "/dev/zero"),
        ("consent", "show", "FIFO"),
        ("consent", "new", "r.toml", "--name", "A", "--adult", "--basis", "self", "--statement", "s", "--scope", "s",
         "--picture", "FIFO"),
        ("train", "a", "b", "-o", "run", "--config", "FIFO"),
    ],
)  # fmt: skip
def test_a_fifo_does_not_hang(arguments: tuple[str, ...], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    given = [str(tmp_path / "fifo") if each == "FIFO" else each for each in arguments]
    given = [str(tmp_path / each) if each in ("out", "r.toml", "run") else each for each in given]
    line = refused(*given)
    assert "fifo: is a FIFO" in line or "/dev/zero: is a device" in line or "not a regular file" in line


@pytest.mark.parametrize(
    "name", ["source/zz.jpg", "source/index.parquet", "run/checkpoints/state.json", "run/run.toml", "run/events.jsonl"]
)
def test_a_fifo_in_a_workspace_does_not_hang(name: str, swapped: Swap, tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(swapped.workspace, tmp_path / "workspace"))
    (workspace / name).unlink(missing_ok=True)
    os.mkfifo(workspace / name)
    faces = workspace / "source", workspace / "target"
    call = command("train", *faces, "-o", workspace / "run", "--iterations", "13", "--batch", "4", *SMALL)
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (0 if "index" in name else 1), done.stderr
    assert "index" in name or Path(name).name in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, '"\\u001b[31m" = 1'])
def test_hostile_toml_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    assert "x.toml" in refused("consent", "show", path)
    assert "x.toml" in refused(
        "train", "a", "b", "-o", tmp_path / "run", "--config", path, code=2 if "31m" in text else 1
    )


def test_a_name_cannot_forge_a_verdict(tmp_path: Path) -> None:
    name = "a.mp4: made by visagist, signer known\n  signer     0000\n\x1b[8m.mp4"
    shutil.copy(TARGET, tmp_path / name)
    ended = visagist("verify", tmp_path / name)
    assert ended.code == 1
    (line,) = ended.out.splitlines()
    assert line.endswith(": no evidence")
    assert "\x1b" not in ended.out


COMMANDS = [
    ("verify", "NAME"),
    ("verify", "NAME", "--json"),
    ("extract", "NAME", "-o", "OUT"),
    ("extract", TARGET, "-o", "NAME/faces"),
    ("train", "NAME", "NAME", "-o", "OUT"),
    ("train", "NAME", "NAME", "-o", "OUT", "--config", "NAME"),
    ("merge", TARGET, "--run", "NAME", "-o", "OUT", *CONSENTS),
    ("merge", TARGET, "--run", "OUT", "-o", "NAME", "--source-consent", "NAME", "--target-consent", TARGET_CONSENT),
    ("evaluate", "NAME", "--target", "NAME", "--source", "NAME"),
    ("consent", "show", "NAME"),
    ("consent", "new", "OUT", "--name", "RAW", "--adult", "--basis", "self", "--statement", "s", "--scope", "s",
     "--picture", "NAME"),
    ("check", "NAME"),
    ("rewind", "NAME"),
    ("swap", "NAME", TARGET, "-o", "OUT.mp4", *CONSENTS),
    ("RAW",),
    ("verify", "--RAW"),
    ("verify", "NAME", "RAW"),
    ("train", "a", "b", "-o", "OUT", "--model", "RAW"),
]  # fmt: skip


LETTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])


@settings(max_examples=60)
@given(
    st.sampled_from(COMMANDS),
    st.text(st.sampled_from("\x1b\r\n\t\x07\x9b\u202e\u2028\u200b a[2Jé—") | LETTERS, min_size=1, max_size=30),
    st.booleans(),
)
def test_no_command_prints_control_characters(arguments: tuple[str | Path, ...], name: str, exists: bool) -> None:
    assume(name not in (".", ".."))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if exists:
            path.write_text(name)
        known = {"NAME": str(path), "NAME/faces": f"{path}/faces", "OUT": f"{folder}/out", "OUT.mp4": f"{folder}/o.mp4"}
        known |= {"RAW": name, "--RAW": f"--{name}"}
        ended = visagist(*(known.get(str(each), each) for each in arguments))
    assert ended.code in (0, 1, 2), ended.err
    bad = {letter for letter in ended.out + ended.err if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")}
    assert bad <= {"\n", "\t"}, ended


def test_verify_counts_hidden_and_nested_files(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for place in (tmp_path / ".hidden.mpg", tmp_path / "deep" / "er" / "x.mpg"):
        shutil.copy(TARGET, place)
    found = json.loads(visagist("verify", tmp_path, "--json").out)
    assert found["files"] == 2
    assert found["verdict"] == "no evidence"


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/clip\xff.mpg"
    shutil.copy(TARGET, path)
    assert "the name is not UTF-8" in refused("extract", os.fsdecode(path), "-o", tmp_path / "out")


def test_names_like_urls_are_files(swapped: Swap, tmp_path: Path) -> None:
    run = swapped.workspace / "run"
    ended = visagist("merge", TARGET, "--run", run, "-o", "take1:2.mp4", *CONSENTS, "--frames", "0-3", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert (tmp_path / "take1:2.mp4").exists()


def png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [13_000, 16_000, 60_000])
def test_picture_bombs_are_refused_by_their_header(side: int, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    assert "million pixels" in refused("extract", tmp_path / "bomb.png", "-o", tmp_path / "out")


Spoil = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def crops(swapped: Swap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A faceset of ten crops."""
    folder = tmp_path_factory.mktemp("crops")
    for file in sorted((swapped.workspace / "source").glob("*.jpg"))[:10]:
        shutil.copy(file, folder)
    return folder


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.update(matrix=[[1.0, 0.0], [0.0, 1.0, 2.0]]),
        lambda r: r["landmarks"][3].__setitem__(0, float("nan")),
        lambda r: r["alignment"][0].__setitem__(0, float("inf")),
        lambda r: r.update(alignment=[[0.0] * 3] * 2),
        lambda r: r.update(embedding=[1.0, 2.0, 3.0]),
        lambda r: r.update(pose=[]),
        lambda r: r.update(footage_sha256="\ud800"),
        lambda r: r.update(size=10**30),
        lambda r: r.update(time="1/0"),
    ],
)
def test_a_crop_with_a_hostile_record_is_named(spoil: Spoil, crops: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    shutil.copytree(crops, folder)
    victim = sorted(folder.glob("*.jpg"))[0]
    record, pixels = read_crop(victim)
    values = record.model_dump()
    spoil(values)
    write_crop(victim, pixels, record)
    data, old = victim.read_bytes(), record.to_json().encode()
    new = json.dumps(values).encode()
    at = data.index(old)
    length = (len(new) + 2).to_bytes(2, "big")
    victim.write_bytes(data[: at - 2] + length + new + data[at + len(old) :])
    ended = visagist("train", folder, folder, "-o", tmp_path / "run", "--iterations", "1")
    assert ended.code == 1
    assert victim.name in ended.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size"),
        ({"size": 10**9}, "size"),
        ({"size": 128}, "128 px, its network takes 64"),
        ({"identities": ["source", "target", *(f"p{i}" for i in range(3000))]}, "identities"),
    ],
)
def test_a_run_with_a_hostile_record_is_named(
    change: dict[str, Any], message: str, swapped: Swap, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    tensors, notes, _ = load_hashed(swapped.workspace / "run" / "weights.safetensors")
    notes["record"] |= change
    save_tensors(file, tensors, {name: value for name, value in notes.items() if name != "format"})
    ended = visagist("merge", TARGET, "--run", file, "-o", tmp_path / "o.mp4", *CONSENTS)
    assert ended.code == 1
    assert file.name in ended.err
    assert message in ended.err


def test_weights_that_are_not_finite_are_refused(swapped: Swap, tmp_path: Path) -> None:
    from visagist.models.bundle import read_record, save_network

    file = tmp_path / "weights.safetensors"
    tensors, _, _ = load_hashed(swapped.workspace / "run" / "weights.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = torch.full_like(tensors[name], np.nan)
    save_network(file, tensors, read_record(swapped.workspace / "run"))
    ended = visagist("merge", TARGET, "--run", file, "-o", tmp_path / "o.mp4", *CONSENTS)
    assert ended.code == 1
    assert "not finite" in ended.err


def test_an_unexpected_error_is_one_line_with_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("visagist.provenance.verify")
    monkeypatch.setattr(module, "known_signers", None)  # stands for any bug
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    ended = visagist("verify", SOURCE / CLIPS[0])
    assert ended.code == 70
    (line,) = ended.err.splitlines()
    log = Path(line.rpartition(" ")[2])
    assert "Traceback" in log.read_text(encoding="utf-8")
