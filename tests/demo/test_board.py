"""The steps that agents take together: each of them is atomic, whoever else is at work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentmem.demo.analysis import examine
from agentmem.demo.board import Board, Plan, beat
from agentmem.demo.fleet import make_plan
from agentmem.demo.orders import size_of
from agentmem.demo.sources import list_sources, to_path
from agentmem.jobs import Job
from agentmem.testing.support import eventually, run_threads


def open_names(board: Board, plan: Plan) -> list[str]:
    return sorted(item.value["name"] for item in board.queue(plan).peek(1000))


def complete(board: Board, plan: Plan, job: Job, agent: str = "one") -> bool:
    finding = examine(to_path(Path(plan.path), job.value["name"]))
    return board.complete(plan, job, finding, {"agent": agent, "took_ms": 1.0})


def first_job(board: Board, plan: Plan) -> Job:
    (job,) = board.queue(plan).claim()
    return job


def test_the_plan_names_every_file_once(board: Board, plan: Plan, tree: Path) -> None:
    names = open_names(board, plan)
    assert names == [source.name for source in list_sources(tree).sources]
    assert plan.files == len(names) == 44


def test_files_come_in_the_order_of_the_plan(board: Board, plan: Plan, tree: Path) -> None:
    (tree / "large.py").write_text("x = 1\n" * 9000)
    (tree / "small.py").write_text("x = 1\n" * 900)
    board.orders.update_many([("next", "large", 9.0), ("next", "small", 5.0), ("next", "medium", 3.0)])
    fresh = make_plan(board, tree, fresh=True)
    sizes = [size_of(item.value["size_bytes"]) for item in board.queue(fresh).peek(100)]
    assert list(dict.fromkeys(sizes)) == [size for size in fresh.order if size in sizes]
    assert (len(sizes), fresh.experience, fresh.largest_bytes) == (46, 3, 54_000)


def test_planning_twice_changes_nothing(board: Board, plan: Plan, tree: Path) -> None:
    before = list(board.memory.items())
    assert make_plan(board, tree) == plan
    assert list(board.memory.items()) == before


def test_planners_that_start_together_agree(board: Board, tree: Path) -> None:
    plans = run_threads(6, lambda _: make_plan(board, tree))
    assert len({plan.run for plan in plans}) == 1
    assert board.memory.queues() == [f"{plans[0].prefix}files"]
    assert board.queue(plans[0]).counts().ready == 44


def test_completing_counts_once(board: Board, plan: Plan) -> None:
    job = first_job(board, plan)
    assert complete(board, plan, job)
    state = list(board.memory.items())
    assert not complete(board, plan, job)
    assert list(board.memory.items()) == state
    assert board.counters(plan)["files"] == 1
    assert board.work(plan) == {"one": 1}
    assert job.value["name"] not in open_names(board, plan)


def test_a_zombie_changes_nothing(board: Board, plan: Plan) -> None:
    (zombie,) = board.queue(plan).claim(lease=0.05)
    eventually(lambda: zombie.value["name"] in open_names(board, plan))
    assert not complete(board, plan, zombie, "zombie")
    heir = first_job(board, plan)
    assert (heir.id, heir.attempts) == (zombie.id, 2)
    assert not complete(board, plan, zombie, "zombie")
    assert board.counters(plan)["files"] == 0
    assert complete(board, plan, heir, "heir")
    assert not complete(board, plan, zombie, "zombie")
    assert board.work(plan) == {"heir": 1}


def test_who_falls_silent_is_no_more_alive_until_it_is_heard_again(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentmem.demo.board.HEARTBEAT_SECONDS", 0.05)
    board.join("analyst-1", "analyst")
    eventually(lambda: not board.alive())
    monkeypatch.setattr("agentmem.demo.board.HEARTBEAT_SECONDS", 1.0)
    member = board.join("analyst-2", "analyst")
    eventually(lambda: not board.alive())
    beat(member, "a.py")
    seen = board.alive()["analyst-2"]
    assert (seen.role, seen.doing) == ("analyst", "a.py")


def test_the_journal_keeps_the_order_and_tells_an_event_once(board: Board) -> None:
    for agent in ("a", "b", "a"):
        board.say(agent, "began")
    for agent in ("a", "b"):
        board.say(agent, "it is done", once="done")
    assert [(line["agent"], line["what"]) for line in board.journal(3)] == [
        ("b", "began"),
        ("a", "began"),
        ("a", "it is done"),
    ]


def test_what_the_fleet_leaves_expires(board: Board, plan: Plan) -> None:
    board.join("analyst-1", "analyst")
    complete(board, plan, first_job(board, plan))
    forever = [entry.key for entry in board.memory.items() if entry.expires_at is None]
    assert forever == ["runs"]


def test_a_fresh_run_replaces_the_old_one(board: Board, plan: Plan, tree: Path) -> None:
    done, held = board.queue(plan).claim(2)
    assert complete(board, plan, done)
    fresh = make_plan(board, tree, fresh=True)
    assert fresh.run == plan.run + 1
    assert not complete(board, plan, held)
    assert board.memory.count(f"{plan.prefix}*") == 0
    assert board.memory.queues() == [f"{fresh.prefix}files"]
    assert len(open_names(board, fresh)) == 44


def test_a_fresh_run_sweeps_what_a_killed_planner_left(board: Board, plan: Plan, tree: Path) -> None:
    board.memory.queue("run-0001/files").put({"name": "left.py", "size_bytes": 1})
    board.memory.put("run-0001/findings/left.py", {})
    while plan.run < 3:
        plan = make_plan(board, tree, fresh=True)
    assert board.memory.queues() == [f"{plan.prefix}files"]
    assert board.memory.children("run-") == []


def test_the_report_of_a_replaced_run_is_not_stored(board: Board, plan: Plan, tree: Path) -> None:
    fresh = make_plan(board, tree, fresh=True)
    board.finish(plan, {"stale": True})
    assert board.plan() == fresh
    assert board.report(plan) is None


def test_finishing_marks_the_plan(board: Board, plan: Plan) -> None:
    board.finish(plan, {"files": 44})
    assert board.plan() == replace(plan, state="done")
    assert board.report(plan) == {"files": 44}


def test_an_empty_tree_is_done_at_once(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    plan = make_plan(board, folder)
    assert (plan.files, any(board.queue(plan).counts()), board.memory.queues()) == (0, False, [])
