from pathlib import Path

import pytest

from superpoint_ros.superpoint.files import replacing


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.txt"
    with replacing(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt" and not path.exists()
    assert [item.name for item in path.parent.iterdir()] == ["file.txt"] and path.read_text() == "new"


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"), replacing(tmp_path):
        pytest.fail("nothing is to be computed for it")


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk on fire"), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError("disk on fire")
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"] and path.read_text() == "old"
