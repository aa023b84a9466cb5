"""Hostile contents of the files that visagist keeps, through the real command line.

Results that cannot be made again are named in one clear line; caches and notes are made again by the same command.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import SMALL, Swap, visagist
from tests.cli.test_hostile import CONSENTS, png_header
from visagist.core.tensors import load_hashed, save_tensors
from visagist.demo import SOURCE_CONSENT, TARGET

DEEP = "[" * 5000
Spoil = Callable[[Path], object]


@pytest.fixture
def workspace(swapped: Swap, tmp_path: Path) -> Path:
    """A copy, with its render beside it."""
    for file in swapped.output.parent.glob("out.mp4*"):
        if file.is_file():
            shutil.copy2(file, tmp_path)
    return Path(shutil.copytree(swapped.workspace, tmp_path / swapped.workspace.name))


def refused(*arguments: str | Path) -> str:
    """The last line of a refusal."""
    ended = visagist(*arguments)
    assert ended.code == 1, ended.err
    return ended.err.splitlines()[-1]


def write(text: str | bytes) -> Spoil:
    return lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


def edit(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change a JSON file."""

    def changed(path: Path) -> None:
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return changed


def metadata(change: Callable[[dict[str, Any]], object] | str) -> Spoil:
    """Change the metadata of a face table, or replace it."""

    def changed(path: Path) -> None:
        table = pq.read_table(path)
        notes = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        (key,) = notes
        if isinstance(change, str):
            notes[key] = change
        else:
            values = json.loads(notes[key])
            change(values)
            notes[key] = json.dumps(values)
        pq.write_table(table.replace_schema_metadata(notes), path)

    return changed


def column(name: str, value: Any) -> Spoil:
    """Set a column of a table to one value, or delete it if that is None."""

    def changed(path: Path) -> None:
        table = pq.read_table(path)
        at = table.schema.get_field_index(name)
        kept = table.remove_column(at)
        values = pa.array([value] * len(table), table.schema.field(at).type) if value is not None else None
        pq.write_table(kept if values is None else kept.add_column(at, table.schema.field(at), values), path)

    return changed


CONFIGS = {
    "weights = 3": "weights must be a table",
    'weights = ["sface"]': "weights must be a table",
    "[weights]\nsface = 3": "sface needs the path of an ONNX file",
    "signers = 3": "unknown entry signers",
    "a = " + DEEP: "nested too deeply",
}


@pytest.mark.parametrize("text", CONFIGS)
def test_a_configuration(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config.toml").write_text(text)
    line = refused("extract", TARGET, "-o", tmp_path / "faces")
    assert "config.toml" in line
    assert CONFIGS[text] in line


@pytest.mark.parametrize(("name", "text"), [("known_signers.toml", "a = " + DEEP), ("config.toml", "signer = 3")])
def test_signers(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    (tmp_path / name).write_text(text)
    assert name in refused("verify", TARGET)


def test_a_record_cannot_recolour_the_terminal(tmp_path: Path) -> None:
    record = tmp_path / "record.toml"
    record.write_text(SOURCE_CONSENT.read_text().replace('name = "', 'name = "\\u001b[31m\\u202e'))
    shown = visagist("consent", "show", record)
    assert shown.code == 0, shown.err
    assert "\\x1b[31m\\u202e" in shown.out
    assert not set(shown.out) & {"\x1b", "\u202e"}


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("spoil", [folder, link, write(png_header(16_000, 16_000)), write("")])
def test_a_crop_that_is_none(spoil: Spoil, workspace: Path, tmp_path: Path) -> None:
    crop = sorted((workspace / "source").glob("*.jpg"))[0]
    spoil(crop)
    assert crop.name in refused("train", workspace / "source", workspace / "target", "-o", tmp_path / "run", *SMALL)


@pytest.mark.parametrize("side", [13_000, 16_000])
def test_a_picture_bomb_as_evidence_of_consent(side: int, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    record = ("consent", "new", tmp_path / "r.toml", "--name", "A", "--adult", "--basis", "self", "--statement", "s")
    line = refused(*record, "--scope", "s", "--picture", tmp_path / "bomb.png")
    assert "bomb.png" in line
    assert "million pixels" in line


def test_a_gif_with_a_huge_screen(tmp_path: Path) -> None:
    size = (16_000).to_bytes(2, "little")
    image = b"," + bytes(4) + (1).to_bytes(2, "little") * 2 + b"\0\2\2\x44\1\0;"
    (tmp_path / "bomb.gif").write_bytes(b"GIF89a" + size * 2 + b"\x80\0\0" + bytes(6) + image)
    assert "bomb.gif" in refused("extract", tmp_path / "bomb.gif", "-o", tmp_path / "faces")


@pytest.mark.parametrize(
    "spoil", [write("PAR1"), write(b"\xff" * 100), column("changed", None), column("record", "[" * 5000)]
)
def test_an_index_of_a_faceset_is_made_again(spoil: Spoil, workspace: Path, tmp_path: Path) -> None:
    spoil(workspace / "source" / "index.parquet")
    faces = workspace / "source", workspace / "target"
    ended = visagist("train", *faces, "-o", tmp_path / "run", "--iterations", "1", "--batch", "2", *SMALL)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    "change",
    [
        lambda notes: notes["record"]["origins"]["source"].update(centroid=[1.0, 2.0, 3.0]),
        lambda notes: notes["record"]["origins"]["source"].update(crops=10**30),
        lambda notes: notes.update(record=None),
        lambda notes: notes.update(record=json.loads("[" * 60 + "]" * 60)),
    ],
)
def test_a_record_of_weights(change: Callable[[dict[str, Any]], object], swapped: Swap, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    tensors, notes, _ = load_hashed(swapped.workspace / "run" / "weights.safetensors")
    change(notes)
    save_tensors(file, tensors, {name: value for name, value in notes.items() if name != "format"})
    ended = visagist("merge", TARGET, "--run", file, "-o", tmp_path / "o.mp4", *CONSENTS)
    assert ended.code == 1
    assert file.name in ended.err.splitlines()[-1]


@pytest.mark.parametrize(
    "spoil",
    [
        edit(lambda state: state.update(latest="1e400")),
        write('{"format": 2, "latest": 1e400}'),
        write(DEEP),
        edit(lambda state: state.update(rate=None)),
        edit(lambda state: state.update(rate="x")),
        edit(lambda state: state.pop("latest")),
    ],
)
def test_the_state_of_a_training(spoil: Spoil, workspace: Path) -> None:
    run = workspace / "run"
    spoil(run / "checkpoints" / "state.json")
    line = refused("train", workspace / "source", workspace / "target", "-o", run, "--iterations", "13", "--batch", "4",
                   *SMALL)  # fmt: skip
    assert "state.json" in line
    assert "visagist rewind" in line


@pytest.mark.parametrize("text", ["a = " + DEEP, "a = " + "9" * 5000, "format = 'x'"])
def test_the_record_of_a_run(text: str, workspace: Path) -> None:
    (workspace / "run" / "run.toml").write_text(text)
    faces = workspace / "source", workspace / "target"
    assert "run.toml" in refused("train", *faces, "-o", workspace / "run", "--iterations", "13", "--batch", "4", *SMALL)


def test_an_event_log(workspace: Path) -> None:
    with (workspace / "run" / "events.jsonl").open("ab") as log:
        log.write(b'\xff\xfe\n5\n{"event": "metric", "iteration": 7}\n' + DEEP.encode())
    faces = workspace / "source", workspace / "target"
    more = visagist("train", *faces, "-o", workspace / "run", "--iterations", "13", "--batch", "4", *SMALL)
    assert more.code == 0, more.err


@pytest.mark.parametrize(
    "spoil",
    [
        metadata(lambda values: values.pop("frames")),
        metadata(lambda values: values.pop("width")),
        metadata(DEEP),
        column("time_denominator", 0),
        column("landmarks", None),
        write("PAR1"),
    ],
)
def test_a_face_table_is_made_again(spoil: Spoil, workspace: Path, tmp_path: Path) -> None:
    (table,) = (file for file in (workspace / "tables").glob("*.parquet") if "sbia1a" in file.name)
    spoil(table)
    merge = ("merge", TARGET, "--run", workspace / "run", "-o", tmp_path / "o.mp4", "--workspace", workspace)
    ended = visagist(*merge, *CONSENTS, "--frames", "0-3")
    assert ended.code == 0, ended.err
    assert visagist("verify", tmp_path / "o.mp4").code == 0


@pytest.mark.parametrize(
    "spoil",
    [
        edit(lambda report: report.update(files=[1])),
        edit(lambda report: report.pop("untouched", None)),
        edit(lambda report: report.update(frames="x")),
        write(DEEP),
        write(b"\xff"),
    ],
)
def test_a_report_beside_a_render(spoil: Spoil, workspace: Path, swapped: Swap) -> None:
    """Without a valid one the render may be the user's, and is not replaced; nothing else happens."""
    output = workspace.with_name("out.mp4")
    report = output.with_name("out.mp4.json")
    whole = output.read_bytes()
    spoil(report)
    ended = visagist("merge", "--config", output.with_name("out.mp4.toml"), "-o", output, "--workspace", workspace)
    assert ended.code in (0, 1), ended.err
    assert ended.code == 0 or ("out.mp4" in ended.err and output.read_bytes() == whole), ended.err
