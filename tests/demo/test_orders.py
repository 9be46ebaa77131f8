"""What the fleet learns of the order of its files."""

from __future__ import annotations

from typing import Any

import pytest

from agentmem import Memory, Unavailable
from agentmem.demo.orders import SIZES, Experience, choose_order, learned, size_of


@pytest.mark.parametrize(
    ("size_bytes", "size"),
    [(0, "tiny"), (2000, "tiny"), (2001, "small"), (8001, "medium"), (32_000, "medium"), (32_001, "large")],
)
def test_sizes(size_bytes: int, size: str) -> None:
    assert size_of(size_bytes) == size


def test_an_order_has_every_size_once(memory: Memory) -> None:
    orders = {choose_order(memory.qtable("orders")) for _ in range(12)}
    assert all(sorted(order) == sorted(SIZES) for order in orders)
    assert len(orders) > 1, "where nothing is known the draw decides"


def test_what_pays_most_comes_first(memory: Memory) -> None:
    table = memory.qtable("orders", alpha=1.0)
    experience = Experience(table)
    for size_bytes, functions in ((100, 1), (5_000, 40), (20_000, 90), (100_000, 20)):
        experience.add(size_bytes, functions, 0.1)
        experience.add(size_bytes, functions, 0.3)
    experience.tell()
    rows = learned(table)
    assert [(row["size"], row["functions_per_second"]) for row in rows] == [
        ("medium", 450.0),
        ("small", 200.0),
        ("large", 100.0),
        ("tiny", 5.0),
    ]
    assert {row["lessons"] for row in rows} == {1}
    firsts = [choose_order(table)[0] for _ in range(20)]
    assert firsts.count("medium") > 10


def test_a_lot_is_one_lesson(memory: Memory) -> None:
    experience = Experience(memory.qtable("orders"))
    for _ in range(70):
        experience.add(100, 1, 0.01)
    assert [row["lessons"] for row in learned(memory.qtable("orders"))] == [2]
    experience.tell()
    experience.tell()
    assert [row["lessons"] for row in learned(memory.qtable("orders"))] == [3]


def test_a_lesson_that_the_store_does_not_take_is_forgotten(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    table = memory.qtable("orders")

    def fail(*_: Any) -> Any:
        raise Unavailable("not now")

    experience = Experience(table)
    with monkeypatch.context() as patched:
        patched.setattr(table, "update_many", fail)
        experience.add(100, 1, 0.01)
        experience.tell()
    experience.tell()
    assert learned(table) == []
