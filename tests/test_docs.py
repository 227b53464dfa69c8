"""Pages that are made from the code are as the code is now."""

import re
from pathlib import Path

from console.systems_page import PAGE, page

ROOT = Path(__file__).parent.parent


def test_the_systems_page_is_fresh() -> None:
    assert (ROOT / PAGE).read_text("utf-8") == page(), "run: python -m console docs"


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
