"""The commands and Python code of README and tutorial run as written, but with less training."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest

from tests.cli.conftest import CLIPS, first_frames, write_frames
from visagist import new_consent
from visagist.cli.app import main
from visagist.demo import SOURCE, TARGET
from visagist.media import write_picture
from visagist.training import TrainOptions

ROOT = Path(__file__).parents[1]
FRAMES = 24
SMALL = TrainOptions.model_validate(
    {
        "model": "quick",
        "settings": {"size": 32, "encoder": [8, 16, 16], "latent": 16, "shared": 8, "decoder": [16, 16, 8, 8]},
        "batch": 4,
        "device": "cpu",
    }
)
AS_OPTIONS = (
    "--model quick --settings.size 32 --settings.encoder 8,16,16 --settings.latent 16 --settings.shared 8 "
    "--settings.decoder 16,16,8,8 --batch 4 --device cpu"
)
# What the pages say, and what is run in its place.
SHORTER = {
    "--iterations 900 --preview-every 100": f"--iterations 2 {AS_OPTIONS}",
    "--iterations 1500 --preview-every 100": f"--iterations 3 {AS_OPTIONS}",
    "visagist.TrainOptions(preview_every=100)": "small",
    "iterations=900": "iterations=2",
    "iterations=1500": "iterations=3",
    "--minutes 60": f"--iterations 2 {AS_OPTIONS}",
    '"run", minutes=60': '"run", iterations=2, options=small',
    "minutes=60": "iterations=2, training=small",
}


def blocks(page: str, language: str) -> str:
    """All fenced blocks of a page in one language, with little training."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    code = "\n".join(textwrap.dedent(block) for _, block in found)
    for written, run in SHORTER.items():
        code = code.replace(written, run)
    assert not re.search(r"--minutes|minutes=|iterations[= ]\d\d", code)  # else the test would take that long
    return code


def run_shell(page: str) -> None:
    lines = blocks(page, "sh").replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith(("visagist ", "python -c "))]
    assert commands
    for program, *arguments in commands:
        if program == "python":
            exec(arguments[1], {})
        else:
            assert main(arguments) == 0, arguments


def run_python(page: str) -> None:
    exec(compile(blocks(page, "python"), page, "exec"), {"small": SMALL})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the pages start from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visagist.evaluation.metric.RESAMPLES", 40)  # intervals are tested elsewhere
    (tmp_path / "anna").mkdir()
    anna, bert = first_frames(SOURCE / CLIPS[0], FRAMES), first_frames(TARGET, FRAMES)
    write_frames(tmp_path / "anna" / "clip.mp4", anna)
    for name in ("bert.mp4", "scene12.mov"):
        write_frames(tmp_path / name, bert)
    for name, frames in (("anna.jpg", anna), ("bert.jpg", bert)):
        write_picture(tmp_path / name, frames[0])
    return tmp_path


@pytest.mark.parametrize("run", [run_shell, run_python])
def test_the_tutorial_runs_on_the_bundled_footage(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, work = tmp_path / "package", tmp_path / "work"
    for clip, side in ((SOURCE / CLIPS[0], "source"), (TARGET, "target")):  # one clip each, and its beginning only
        copy = package / "footage" / side / clip.name
        copy.parent.mkdir(parents=True)
        write_frames(tmp_path / "clip.mp4", first_frames(clip, FRAMES))
        (tmp_path / "clip.mp4").rename(copy)
        new_consent(
            package / "consent" / f"{side}.toml",
            name=side,
            adult=True,
            basis="research-corpus",
            statement="A test",
            scope="A test",
            footage=[copy],
        )
    work.mkdir()
    monkeypatch.setattr("visagist.demo.FOLDER", package)
    monkeypatch.setattr("visagist.evaluation.metric.RESAMPLES", 40)  # intervals are tested elsewhere
    monkeypatch.chdir(work)
    run("docs/tutorials/first-swap.md")
    assert {"render.mp4", "softer.mp4", "sheet.png", "report.html"} <= {path.name for path in work.iterdir()}


def test_the_readme_is_equivalent_in_python_and_on_the_command_line(folder: Path) -> None:
    run_shell("README.md")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".mp4", ".safetensors")}
    run_python("README.md")
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before  # done is done
