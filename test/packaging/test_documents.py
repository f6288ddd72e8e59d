"""Documents link to what exists."""

import re
from pathlib import Path

import pytest

from superpoint_ros.__main__ import main

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


COMMAND = re.compile(r"python -m superpoint_ros ([a-z-]+)(?: (homography|precision|pose|odometry))?([^`\n#|]*)")


def test_commands_in_documents_have_the_options_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("rosbags", reason="rosbags is not installed")
    given: dict[tuple[str, ...], set[str]] = {}
    for document in DOCUMENTS:
        for name, benchmark, rest in COMMAND.findall(document.read_text().replace("\\\n", " ")):
            options = re.findall(r"(?<!\S)--[a-z-]+", rest)
            given.setdefault((name, benchmark) if benchmark else (name,), set()).update(options)
    assert sum(map(len, given.values())) > 20
    unknown = {}
    for command, options in given.items():
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0, f"{command} is no command"
        known = re.findall(r"--[a-z-]+", capsys.readouterr().out)
        unknown[command] = options - set(known)
    assert not any(unknown.values()), unknown


def test_files_that_the_architecture_names_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)`", prose(ROOT / "docs" / "architecture.md"))
    there = [
        path.relative_to(ROOT).as_posix()
        for folder in ("superpoint_ros", "test")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(named) > 50
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in there)] == []
