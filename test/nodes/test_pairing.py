"""Left and right put together by their stamps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.nodes.topics.pairing import Pairing


def fed(pairing: Pairing[str], *items: tuple[int, int]) -> list[tuple[str, str]]:
    """Add items (side, stamp); returns the pairs."""
    pairs = (pairing.add(side, stamp, f"{'LR'[side]}{stamp}") for side, stamp in items)
    return [pair for pair in pairs if pair is not None]


@given(left=st.sets(st.integers(0, 30)), right=st.sets(st.integers(0, 30)), order=st.randoms(use_true_random=False))
def test_equal_stamps_meet_whichever_side_comes_first(left: set[int], right: set[int], order) -> None:
    queues = [sorted(left), sorted(right)]
    items = []
    while queues[0] or queues[1]:
        side = order.choice(
            [side for side in (0, 1) if queues[side] and len(queues[1 - side]) - len(queues[side]) < 15]
        )
        items.append((side, queues[side].pop(0)))
    pairing: Pairing[str] = Pairing(0)
    pairs = fed(pairing, *items)
    assert pairs == [(f"L{stamp}", f"R{stamp}") for stamp in sorted(left & right)]
    pairing.clear()
    assert pairing.unpaired == len(left ^ right)


@pytest.mark.parametrize(
    ("slop", "items", "expected"),
    [
        (5, [(0, 100), (1, 104)], [("L100", "R104")]),
        (5, [(0, 100), (1, 106)], []),
        (5, [(0, 100), (0, 107), (1, 104)], [("L107", "R104")]),  # the nearest
        (5, [(1, 104), (0, 100), (0, 104)], [("L100", "R104")]),  # what has been paired is gone
        (0, [(0, 100), (0, 200), (1, 100), (1, 200)], [("L100", "R100"), ("L200", "R200")]),
        (0, [(0, 100), (1, 100), (0, 50), (1, 50)], [("L100", "R100"), ("L50", "R50")]),  # a bag that starts again
    ],
)
def test_pairs(slop: int, items: list[tuple[int, int]], expected: list[tuple[str, str]]) -> None:
    assert fed(Pairing(slop), *items) == expected


def test_a_side_that_stays_alone_does_not_fill_the_memory() -> None:
    pairing: Pairing[str] = Pairing(0)
    assert fed(pairing, *((0, stamp) for stamp in range(100))) == []
    assert pairing.unpaired == 80
    assert fed(pairing, (1, 99)) == [("L99", "R99")]
