"""Documents link to what exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def prose(document: Path) -> str:
    return re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Return what links to the headings of a document end with, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", prose(document))
    local = [link for link in links if not link[0].startswith(("https://", "http://", "mailto:"))]
    assert [target for target, _ in local if not (document.parent / target).exists()] == []
    headings = [(document.parent / target if target else document, anchor) for target, anchor in local if anchor]
    assert [anchor for target, anchor in headings if anchor not in anchors(target)] == []


def test_files_that_the_architecture_names_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)`", prose(ROOT / "docs" / "architecture.md"))
    there = [
        path.relative_to(ROOT).as_posix()
        for folder in ("superpoint_ros", "test")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(named) > 50
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in there)] == []
