"""The list of metrics in the docs is up to date."""

import importlib.util
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "metrics_doc.py"


def test_the_docs_list_the_current_metrics() -> None:
    spec = importlib.util.spec_from_file_location("metrics_doc", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.DOC.read_text(encoding="utf-8")
    assert tool.with_metrics(page) == page, "python tools/metrics_doc.py brings it up to date"
