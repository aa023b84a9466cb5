"""The command line uses parts of other distributions like visagist's own."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Ended, Swap, command, first_frames, visagist
from visagist.demo import SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.media import Reader, read_picture

PLUGIN = Path(__file__).parents[1] / "plugin"
CONSENTS = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
FIRST, LAST = 5, 7  # frames


def install(project: dict[str, Any], folder: Path) -> None:
    """Write the metadata of a distribution, as an installer does."""
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    groups = project["entry-points"].items()
    sections = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups]
    (info / "entry_points.txt").write_text("\n".join(sections))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the example distribution in it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(PLUGIN / "visagist_example.py", folder)
    install(tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"], folder)
    return folder


def visagist_with(folder: Path, *arguments: str | Path) -> Ended:
    paths = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=300,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_network_and_a_colour_transfer_of_another_distribution_make_a_render(
    installed: Path, swapped: Swap, tmp_path: Path
) -> None:
    run, render, matte = tmp_path / "run", tmp_path / "render.mp4", tmp_path / "matte"
    facesets = (swapped.workspace / "source", swapped.workspace / "target")
    settings = ("--model", "smallest", "--settings.width", "8", "--iterations", "4", "--batch", "4")
    trained = visagist_with(installed, "train", *facesets, "-o", run, *settings)
    assert trained.code == 0, trained.err

    frames = ("--frames", f"{FIRST}-{LAST}", "--matte", matte, "--mask", "hull", "--crf", "1")
    merge = ("merge", TARGET, "--run", run, "-o", render, *CONSENTS, *frames)
    without = visagist(*merge, "--color", "none")
    assert without.code == 1
    assert "smallest" in without.err
    assert not render.exists()

    merged = visagist_with(installed, *merge, "--color", "von_kries")
    assert merged.code == 0, merged.err
    assert visagist("verify", render).code == 0
    with Reader(render) as reader:
        after = [frame.rgb() for frame in reader]
    before = first_frames(TARGET, LAST + 1)[FIRST:]
    for shown, original, alpha in zip(after, before, sorted(matte.glob("*.png")), strict=True):
        inside = read_picture(alpha)[..., 0] > 0.9
        assert np.abs(shown - original)[inside].mean() > 0.02, "the face was replaced"
        np.testing.assert_allclose(shown[inside].mean(0), original[inside].mean(0), atol=0.02)


def test_help_lists_parts_of_another_distribution(installed: Path) -> None:
    ended = visagist_with(installed, "swap", "--help")
    assert "smallest" in ended.out
    assert "von_kries" in ended.out


@pytest.mark.parametrize("command", [("merge", "--help"), ("merge", "a", "-o", "b.mp4")])
def test_a_distribution_that_takes_a_name_of_visagist_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    install({"name": "rude", "version": "1", "entry-points": {"visagist.color": {"reinhard": "a:b"}}}, tmp_path)
    ended = visagist_with(tmp_path, *command)
    assert ended.code == 1
    (line,) = ended.err.strip().splitlines()
    assert "'reinhard'" in line
    assert "rude" in line
