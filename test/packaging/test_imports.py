"""Imports go one way, as docs/architecture.md says; read from the sources, so that no branch hides one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "superpoint_ros"
LIBRARY = {"superpoint", "geometry"}
WITHOUT_ROS = LIBRARY | {"matching", "simulation", "odometry", "images"}
ALLOWED: dict[str, set[str]] = {
    "superpoint": set(),
    "geometry": set(),
    "images": set(),
    "matching": LIBRARY,
    "simulation": LIBRARY,
    "odometry": LIBRARY,
    "training": LIBRARY,
    "bags": LIBRARY | {"images"},
    "evaluation": WITHOUT_ROS,
    "nodes": WITHOUT_ROS | {"msg"},
}
"""Which other parts of the package each part may import."""


def imported(path: Path) -> Iterator[str]:
    """Yield the full names of what a file imports, wherever it does."""
    package = (PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*start, *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def modules(part: str) -> list[tuple[Path, str]]:
    return [(path, name) for path in sorted((PACKAGE / part).rglob("*.py")) for name in imported(path)]


def test_every_part_has_a_rule() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ALLOWED)


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part: str) -> None:
    own = {f"{PACKAGE.name}.{other}" for other in ALLOWED[part] | {part}}
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path, name in modules(part)
        if name.startswith(f"{PACKAGE.name}.") and ".".join(name.split(".")[:2]) not in own
    ]
    assert not wrong


@pytest.mark.parametrize("part", sorted(set(ALLOWED) - {"nodes"}))
def test_only_nodes_import_ros(part: str) -> None:
    wrong = [f"{path.relative_to(PACKAGE)} imports {name}" for path, name in modules(part) if name.startswith("rclpy")]
    assert not wrong


def test_the_package_itself_imports_nothing_but_what_finds_its_messages() -> None:
    """So that ``from superpoint_ros.msg import KeypointArray`` costs no PyTorch."""
    assert list(imported(PACKAGE / "__init__.py")) == ["pkgutil.extend_path"]
