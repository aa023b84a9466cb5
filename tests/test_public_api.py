"""The public names: documented, loaded lazily, and called with few positional arguments."""

import inspect
import subprocess
import sys

import pytest

import visagist

JOBS = ("analyze", "demo_swap", "evaluate", "extract", "merge", "pretrain", "preview", "swap", "train")


def test_all_matches_the_modules() -> None:
    assert sorted(visagist.__all__) == sorted(name for names in visagist._MODULES.values() for name in names)


@pytest.mark.parametrize("name", visagist.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    public = getattr(visagist, name)
    if name in ("Event", "EventCallback"):  # types without a docstring of their own
        return
    assert inspect.getdoc(public)
    if inspect.isfunction(public) and inspect.signature(public).parameters and name != "silent":
        assert "Args:" in (inspect.getdoc(public) or ""), f"{name} does not say what it takes"


@pytest.mark.parametrize("name", JOBS)
def test_jobs_have_few_positional_arguments_and_a_callback(name: str) -> None:
    parameters = inspect.signature(getattr(visagist, name)).parameters.values()
    positional = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    assert len(positional) <= 3
    defaults = {parameter.name: parameter.default for parameter in parameters}
    assert defaults["on_event"] is None


@pytest.mark.parametrize("name", ["merge", "preview", "swap"])
def test_consent_has_no_default(name: str) -> None:
    parameters = inspect.signature(getattr(visagist, name)).parameters
    for consent in ("source_consent", "target_consent"):
        assert parameters[consent].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[consent].default is inspect.Parameter.empty


@pytest.mark.parametrize(
    "name", ["verify", "new_consent", "load_consent", "known_signers", "probe", "analyze", "extract"]
)
def test_torch_is_not_imported_for(name: str) -> None:
    code = f"import sys, visagist; visagist.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
