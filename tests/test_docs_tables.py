"""Tables in docs/ match the registries."""

import importlib.util
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "docs_tables.py"


def test_tables_match_the_registries() -> None:
    spec = importlib.util.spec_from_file_location("docs_tables", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for (name, block), table in tool.TABLES.items():
        page = (tool.DOCS / name).read_text(encoding="utf-8")
        assert tool.with_table(page, block, table(page)) == page, f"{name}: `make docs` brings it up to date"
