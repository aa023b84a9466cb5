"""The public names: what `__all__` lists is there, documented, and nothing is listed twice."""

import inspect
import subprocess
import sys

import pytest

import visagist


def test_list_and_rooms_agree() -> None:
    assert sorted(visagist.__all__) == sorted(visagist._HOME)
    assert len(set(visagist.__all__)) == len(visagist.__all__)


@pytest.mark.parametrize("name", visagist.__all__)
def test_public_name_is_there_and_documented(name: str) -> None:
    public = getattr(visagist, name)
    assert inspect.getdoc(public)
    if inspect.isfunction(public) and inspect.signature(public).parameters and name != "silent":
        assert "Args:" in (inspect.getdoc(public) or ""), f"{name} does not say what it takes"


def test_verify_does_not_wait_for_torch() -> None:
    code = "import sys, visagist; visagist.verify; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
