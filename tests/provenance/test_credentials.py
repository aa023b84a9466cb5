"""Signing: the contents of the manifest, and no unsigned file ever has the final name."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import c2pa
import numpy as np
import pytest
from PIL import Image

from visagist.core.errors import CredentialsError, OutputError
from visagist.provenance import Claim, ConsentTerms, Signer, Stamp, sidecar, sign, verify
from visagist.provenance.credentials import SETTINGS, SYNTHETIC

KINDS = [".mp4", ".mov", ".png", ".tif", ".tiff", ".jpg", ".mkv", ".exr"]
Write = Callable[[Path], Path]


def read_manifest(path: Path) -> tuple[dict, bytes]:
    """The active manifest as read by c2pa, and the bytes of the manifest store."""
    if sidecar(path).exists():
        store = sidecar(path).read_bytes()
        with path.open("rb") as file, c2pa.Reader("application/octet-stream", file, store) as reader:
            return json.loads(reader.json()), store
    with c2pa.Reader(str(path), context=c2pa.Context.from_dict(SETTINGS)) as reader:
        found = json.loads(reader.json())
        with path.with_suffix(".store").open("w+b") as file:
            reader.resource_to_stream(f"self#jumbf=/c2pa/{found['active_manifest']}", file)
            file.seek(0)
            return found, file.read()


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_is_signed_and_verifies(
    suffix: str, tmp_path: Path, write: Write, target: Path, claim: Claim, signer: Signer
) -> None:
    unsigned = write(tmp_path / f"unsigned{suffix}")
    before = unsigned.read_bytes()
    output = sign(unsigned, tmp_path / f"render{suffix}", claim, target, signer)
    assert not unsigned.exists()
    found = verify(output)
    assert found.verdict == "made by visagist, signer known"
    assert found.ok
    assert found.fingerprint == signer.fingerprint
    assert found.actions == ("c2pa.opened", "c2pa.edited")
    assert found.synthetic
    assert found.parent
    assert (found.model_sha256, found.consents) == (claim.model_sha256, tuple(each.sha256 for each in claim.consents))
    assert sidecar(output).exists() == (suffix in (".mkv", ".exr"))
    if suffix in (".mkv", ".exr"):
        assert output.read_bytes() == before


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".png", ".tif", ".jpg"])
def test_signing_does_not_change_the_picture(
    suffix: str, tmp_path: Path, write: Write, target: Path, claim: Claim, signer: Signer
) -> None:
    def decode(path: Path) -> list[np.ndarray]:
        if suffix in (".mp4", ".mov"):
            with av.open(str(path)) as container:
                return [frame.to_ndarray() for frame in container.decode(video=0)]
        return [np.asarray(Image.open(path))]

    unsigned = write(tmp_path / f"unsigned{suffix}")
    before = decode(unsigned)
    after = decode(sign(unsigned, tmp_path / f"render{suffix}", claim, target, signer))
    assert len(before) == len(after)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_manifest_states_the_edit_and_the_target(
    tmp_path: Path, write: Write, target: Path, claim: Claim, signer: Signer
) -> None:
    output = sign(write(tmp_path / "u.mp4"), tmp_path / "render.mp4", claim, target, signer)
    found, _ = read_manifest(output)
    manifest = found["manifests"][found["active_manifest"]]
    actions = next(each["data"]["actions"] for each in manifest["assertions"] if each["label"] == "c2pa.actions.v2")
    edited = actions[1]
    assert SYNTHETIC == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert (edited["action"], edited["digitalSourceType"]) == ("c2pa.edited", SYNTHETIC)
    assert [each["relationship"] for each in manifest["ingredients"]] == ["parentOf"]
    assert "ingredients" in actions[0]["parameters"]
    assert manifest["claim_generator_info"][0]["name"] == "visagist"
    assert "time" not in manifest["signature_info"]  # without a timestamp authority


def test_a_preview_is_stated_as_created(tmp_path: Path, write: Write, signer: Signer) -> None:
    output = sign(write(tmp_path / "u.png"), tmp_path / "sheet.png", Claim(None, ()), None, signer)
    found = verify(output)
    assert found.verdict == "made by visagist, signer known"
    assert (found.actions, found.synthetic, found.parent) == (("c2pa.created",), True, False)
    assert found.model_sha256 is None


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("kind", ["mp4", "jpg", "folder"])
def test_no_names_paths_or_thumbnails_in_the_manifest(
    suffix: str, kind: str, tmp_path: Path, write: Write, claim: Claim, signer: Signer
) -> None:
    parent = tmp_path / "Jane-Doe" / f"Jane_Doe.{kind}"
    if kind == "folder":
        parent.mkdir(parents=True)
    else:
        write(parent)
    output = sign(write(tmp_path / f"unsigned-Doe{suffix}"), tmp_path / f"Doe{suffix}", claim, parent, signer)
    _, store = read_manifest(output)
    lower = store.lower()
    for word in ("jane", "doe", "unsigned", "thumbnail", "title", str(tmp_path).lower(), "/tmp", "root"):
        assert word.encode() not in lower, word
    assert b"\xff\xd8\xff" not in store  # no JPEG
    assert b"\x89PNG" not in store


def test_a_target_of_any_format_is_an_ingredient(tmp_path: Path, write: Write, claim: Claim, signer: Signer) -> None:
    for name in ("t.mkv", "broken.mp4", "t.exr"):
        parent = tmp_path / name
        parent.write_bytes(b"no such format") if name == "broken.mp4" else write(parent)
        output = sign(write(tmp_path / "u.png"), tmp_path / "render.png", claim, parent, signer)
        assert verify(output).parent


def test_credentials_of_the_target_are_kept(
    tmp_path: Path, write: Write, target: Path, claim: Claim, signer: Signer
) -> None:
    first = sign(write(tmp_path / "u.mp4"), tmp_path / "first.mp4", claim, target, signer)
    second = sign(write(tmp_path / "u.png"), tmp_path / "second.png", claim, first, signer)
    found, _ = read_manifest(second)
    ingredient = found["manifests"][found["active_manifest"]]["ingredients"][0]
    assert ingredient["active_manifest"] in found["manifests"]
    assert verify(second).verdict == "made by visagist, signer known"


def test_a_stamp_signs_a_sequence(tmp_path: Path, write: Write, target: Path, claim: Claim, signer: Signer) -> None:
    with Stamp(claim, target, signer) as stamp:
        for number in range(5):
            stamp.sign(write(tmp_path / f"u{number}.png"), tmp_path / "render" / f"{number:05}.png")
    found = verify(tmp_path / "render")
    assert (found.verdict, found.files, found.worst) == ("made by visagist, signer known", 5, ())
    assert found.fingerprint == signer.fingerprint


def test_a_claim_takes_hashes_only() -> None:
    with pytest.raises(CredentialsError, match="Jane"):
        Claim("ab" * 32, (ConsentTerms("Jane Doe"),))


def test_a_refused_file_leaves_no_output(tmp_path: Path, target: Path, claim: Claim, signer: Signer) -> None:
    unsigned = tmp_path / "u.mp4"
    unsigned.write_bytes(b"not an mp4" * 100)
    with pytest.raises(CredentialsError, match=r"render\.mp4"):
        sign(unsigned, tmp_path / "out" / "render.mp4", claim, target, signer)
    assert unsigned.exists()
    assert not list(tmp_path.rglob("*render*"))


def test_a_file_is_signed_onto_another_file_system(tmp_path: Path, write: Write, signer: Signer) -> None:
    """Where a rename is refused, so the signed file is copied; a killed copy is deleted by the next write."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system in /dev/shm")
    with tempfile.TemporaryDirectory(dir=memory) as private:
        output = sign(write(Path(private) / "u.png"), tmp_path / "out" / "render.png", Claim(None, ()), None, signer)
        assert list(Path(private).iterdir()) == []
    assert verify(output).verdict == "made by visagist, signer known"
    assert list(output.parent.iterdir()) == [output]


def test_a_file_is_not_signed_onto_itself(tmp_path: Path, write: Write, signer: Signer) -> None:
    path = write(tmp_path / "u.png")
    with pytest.raises(CredentialsError, match="final name"):
        sign(path, path, Claim(None, ()), None, signer)
    assert path.exists()
    with pytest.raises(CredentialsError, match="no such file"):
        sign(tmp_path / "none.png", tmp_path / "render.png", Claim(None, ()), None, signer)


def test_a_video_with_its_index_in_front_still_decodes(tmp_path: Path, write: Write, signer: Signer) -> None:
    """Signing moves the media data; the offsets in the index, in front or behind, must follow."""
    behind, front = write(tmp_path / "u.mp4"), tmp_path / "front.mp4"
    with av.open(str(behind)) as source, av.open(str(front), "w", options={"movflags": "+faststart"}) as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    assert front.read_bytes().index(b"moov") < front.read_bytes().index(b"mdat")
    with av.open(str(behind)) as container:
        expected = [frame.to_ndarray() for frame in container.decode(video=0)]
    with av.open(str(sign(front, tmp_path / "render.mp4", Claim(None, ()), None, signer))) as container:
        found = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert np.array_equal(expected, found)


def test_other_formats_are_refused(tmp_path: Path, write: Write, claim: Claim, signer: Signer) -> None:
    with pytest.raises(CredentialsError, match=r"\.mp4"):
        sign(write(tmp_path / "u.png"), tmp_path / "render.webm", claim, None, signer)


def test_an_unwritable_place_is_an_output_error(tmp_path: Path, write: Write, claim: Claim, signer: Signer) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        sign(write(tmp_path / "u.png"), tmp_path / "file" / "render.png", claim, None, signer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error(tmp_path: Path, write: Write, claim: Claim, signer: Signer) -> None:
    full = tmp_path / "full"
    full.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(full)], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        unsigned = write(tmp_path / "u.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(unsigned)
        with pytest.raises(OutputError, match="free space"):
            sign(unsigned, full / "render.png", claim, None, signer)
        assert list(full.iterdir()) == []
        assert unsigned.exists()
    finally:
        subprocess.run(["umount", str(full)], check=True)


# The child is killed while signing repeatedly; a file with the final name must then be signed and complete.
SIGN_FOREVER = """
import shutil, sys
from pathlib import Path
from visagist.provenance import Claim, Signer, sign
folder, signer = Path(sys.argv[1]), Signer.default()
while True:
    shutil.copy(folder / f"original{sys.argv[2]}", folder / f"u{sys.argv[2]}")
    sign(folder / f"u{sys.argv[2]}", folder / f"render{sys.argv[2]}", Claim(None, ()), None, signer)
    print("signed", flush=True)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_signing_leaves_a_signed_file_or_none(suffix: str, tmp_path: Path, write: Write) -> None:
    write(tmp_path / f"original{suffix}")
    command = [sys.executable, "-c", SIGN_FOREVER, str(tmp_path), suffix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "signed\n"
        child.stdout.readline()
        child.kill()
    assert verify(tmp_path / f"render{suffix}").ok


# Signs and verifies in a separate process, to measure its peak memory, and prints the result.
SIGN_LARGE = """
import resource, sys
from pathlib import Path
from visagist.provenance import Claim, Signer, sign, verify
folder = Path(sys.argv[1])
output = sign(folder / "u.mp4", folder / "render.mp4", Claim(None, ()), None, Signer.default())
print(verify(output).verdict)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(
    "VISAGIST_LARGE_FILES" not in os.environ,
    reason="writes 9 GB, a minute or more; VISAGIST_LARGE_FILES=1 runs it",
)
def test_files_over_4_gb(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.disk_usage(tmp_path).free < 12 << 30:
        pytest.skip("needs 12 GB of room: the sparse file is written out in full")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    unsigned = write(tmp_path / "u.mp4")
    size = (4 << 30) + (1 << 20)
    with unsigned.open("r+b") as file:  # a second mdat, all hole, with a 64-bit size
        file.seek(0, 2)
        file.write(struct.pack(">I4sQ", 1, b"mdat", 16 + size))
        file.truncate(file.tell() + size)
    command = [sys.executable, "-c", SIGN_LARGE, str(tmp_path)]
    verdict, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    output = tmp_path / "render.mp4"
    assert verdict == "made by visagist, signer known"
    assert int(megabytes) < 1500
    assert output.stat().st_size > size
    with av.open(str(output)) as container:
        assert len(list(container.decode(video=0))) == 12
    output.unlink()
