"""The steps that agents take together: each of them is atomic, whoever else is at work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agentmem.demo.analysis import examine
from agentmem.demo.board import Board, Claim, Plan
from agentmem.demo.fleet import make_plan
from agentmem.demo.sources import list_sources, to_path
from agentmem.testing.support import eventually, run_threads


def open_entries(board: Board, plan: Plan) -> list:
    return [entry for lot in board.lots(plan) for entry in board.open_work(plan, lot)]


def complete(board: Board, plan: Plan, claim: Claim, agent: str = "one") -> bool:
    return board.complete(plan, claim, examine(to_path(Path(plan.path), claim.name)), {"agent": agent})


def first_claim(board: Board, plan: Plan, agent: str = "one") -> Claim:
    claim = board.claim(plan, open_entries(board, plan)[0], agent)
    assert claim is not None
    return claim


def test_the_plan_names_every_file_once(board: Board, plan: Plan, tree: Path) -> None:
    names = sorted(entry.key.split("/", 3)[3] for entry in open_entries(board, plan))
    assert names == [source.name for source in list_sources(tree).sources]
    assert plan.files == len(names) == 44


def test_planning_twice_changes_nothing(board: Board, plan: Plan, tree: Path) -> None:
    before = list(board.memory.items())
    assert make_plan(board, tree) == plan
    assert list(board.memory.items()) == before


def test_planners_that_start_together_agree(board: Board, tree: Path) -> None:
    plans = run_threads(6, lambda _: make_plan(board, tree))
    assert len({plan.run for plan in plans}) == 1
    assert len(open_entries(board, plans[0])) == 44
    assert board.memory.count("run-*/open/*") == 44


def test_of_many_analysts_one_gets_a_file(board: Board, plan: Plan) -> None:
    work = open_entries(board, plan)[0]
    claims = run_threads(8, lambda index: board.claim(plan, work, f"analyst-{index}"))
    assert sum(claim is not None for claim in claims) == 1


def test_a_claimed_file_is_not_offered(board: Board, plan: Plan) -> None:
    claim = first_claim(board, plan)
    assert claim.open_key not in {entry.key for entry in open_entries(board, plan)}


def test_a_completed_file_cannot_be_claimed_by_one_who_saw_it_open(board: Board, plan: Plan) -> None:
    work = open_entries(board, plan)[0]
    claim = board.claim(plan, work, "one")
    assert claim is not None
    assert complete(board, plan, claim)
    assert board.claim(plan, work, "late") is None


def test_completing_counts_once(board: Board, plan: Plan) -> None:
    claim = first_claim(board, plan)
    assert complete(board, plan, claim)
    state = list(board.memory.items())
    assert not complete(board, plan, claim)
    assert list(board.memory.items()) == state
    assert board.counters(plan)["files"] == 1
    assert board.work(plan) == {"one": 1}


def test_a_zombie_changes_nothing(board: Board, plan: Plan) -> None:
    quick = Board(board.memory, retention_seconds=3600, lease_seconds=0.05)
    zombie = first_claim(quick, plan, "zombie")
    eventually(lambda: zombie.open_key in {entry.key for entry in open_entries(board, plan)})
    work = next(entry for entry in open_entries(board, plan) if entry.key == zombie.open_key)
    heir = board.claim(plan, work, "heir")
    assert heir is not None
    assert not complete(board, plan, zombie, "zombie")
    assert board.counters(plan)["files"] == 0
    assert complete(board, plan, heir, "heir")
    assert not complete(board, plan, zombie, "zombie")
    assert board.work(plan) == {"heir": 1}


def test_heartbeats_expire(board: Board, monkeypatch) -> None:
    monkeypatch.setattr("agentmem.demo.board.HEARTBEAT_SECONDS", 60)
    board.heartbeat("analyst-1", "analyst", "a.py")
    assert board.alive() == {"analyst-1": {"role": "analyst", "doing": "a.py"}}
    monkeypatch.setattr("agentmem.demo.board.HEARTBEAT_SECONDS", 0.05)
    board.heartbeat("analyst-1", "analyst", "b.py")
    eventually(lambda: not board.alive())


def test_what_the_fleet_leaves_expires(board: Board, plan: Plan) -> None:
    complete(board, plan, first_claim(board, plan))
    forever = [entry.key for entry in board.memory.items() if entry.expires_at is None]
    assert forever == ["runs"]


def test_a_fresh_run_replaces_the_old_one(board: Board, plan: Plan, tree: Path) -> None:
    old = first_claim(board, plan)
    fresh = make_plan(board, tree, fresh=True)
    assert fresh.run == plan.run + 1
    assert not complete(board, plan, old)
    assert board.memory.count(f"{plan.prefix}*") == 0
    assert len(open_entries(board, fresh)) == 44


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
    assert (plan.files, board.lots(plan)) == (0, [])
