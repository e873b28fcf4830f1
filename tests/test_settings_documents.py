import runpy
from pathlib import Path

import pytest

from config import settings
from settings import chinese

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_the_chinese_texts_are_those_of_all_settings_and_of_no_other():
    assert set(chinese.HELP) == {item.name for item in settings()}
    assert set(chinese.DEFAULTS) == {item.name for item in settings() if item.metadata["default_text"]}
    assert set(chinese.GROUPS) == {item.metadata["group"] for item in settings()}


@pytest.mark.parametrize("name", ["settings.md", "settings.zh.md"])
def test_the_documents_are_current(name):
    written = runpy.run_path(str(DOCS / "write_settings.py"))["documents"]()
    assert (DOCS / name).read_text(encoding="utf-8") == written[name], "make docs writes them anew"
    assert all(f"| `{item.name}`" in written[name] for item in settings())
