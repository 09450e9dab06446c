"""docs/factors.md is what the code says."""

import re
from pathlib import Path

from factor_defs.catalogue import catalogue
from factor_defs.registry import LIBRARIES, library
from kernels.operators import OPERATORS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "factors.md"


def test_the_list_in_docs_is_made_from_the_code() -> None:
    assert DOCS.read_text() == catalogue(), "python -m factor_defs.catalogue > docs/factors.md"


def test_everything_is_in_it() -> None:
    text = catalogue()
    lines = text.splitlines()
    for operator in OPERATORS:
        assert any(re.match(rf"{operator.name}\b", line) for line in lines)
    for name in LIBRARIES:
        assert f"## `{name}`" in text
        for column in library(name):
            assert column in text or column.partition(".")[0] in text
