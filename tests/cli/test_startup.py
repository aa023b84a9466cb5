"""Commands that answer at once do not import slow packages; none of these packages reports home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from visagist.demo import TARGET

SLOW = ("torch", "onnxruntime", "cv2")
COMMAND = "from visagist.cli import main\nmain({arguments!r})\n"
REGISTRY = "from {module} import {name}\nassert {name}.names\n"
LOADED = "import sys\nprint('loaded:', *(name for name in {names!r} if name in sys.modules))\n"


def loaded(program: str) -> set[str]:
    """The slow packages that a program imports."""
    script = program + LOADED.format(names=SLOW)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_slow(option: str) -> None:
    assert not loaded(COMMAND.format(arguments=[option]))


def test_verify_does_not_import_torch() -> None:
    assert "torch" not in loaded(COMMAND.format(arguments=["verify", str(TARGET)]))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("visagist.models", "ARCHITECTURES"),
        ("visagist.merging.color", "COLOR"),
        ("visagist.merging.masks", "MASKS"),
        ("visagist.training.losses", "LOSSES"),
        ("visagist.evaluation.metrics", "METRICS"),
    ],
)
def test_names_of_a_registry_are_listed_without_torch(module: str, name: str) -> None:
    assert "torch" not in loaded(REGISTRY.format(module=module, name=name))


def test_onnxruntime_sends_no_telemetry(tmp_path: Path) -> None:
    """It would also leave the number of a session in the folder for temporary files."""
    suppressing = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "GITHUB_ACTIONS", "TF_BUILD")
    known = {name: value for name, value in os.environ.items() if name not in suppressing} | {"TMPDIR": str(tmp_path)}
    program = "from visagist.zoo import session; session('yunet')"
    subprocess.run([sys.executable, "-c", program], env=known, check=True)
    assert list(tmp_path.iterdir()) == []
