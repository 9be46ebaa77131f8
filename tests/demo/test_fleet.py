"""The fleet as a whole, in this process: what it finds, how it goes on, how it bears a store that fails."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import agentmem
from agentmem import OutcomeUnknown, Unavailable
from agentmem.demo import Progress, RunReplaced, run_fleet
from agentmem.demo.analysis import examine
from agentmem.demo.analyst import Analyst
from agentmem.demo.board import Board, Plan
from agentmem.demo.fleet import Crew, make_plan
from agentmem.demo.sources import list_sources, to_path
from agentmem.jobs import Job
from agentmem.testing.support import run_threads


def findings(memory: agentmem.Memory) -> dict[str, Any]:
    return {entry.key.split("/findings/")[1]: entry.value for entry in memory.items() if "/findings/" in entry.key}


def expected(tree: Path) -> dict[str, Any]:
    return {source.name: examine(to_path(tree, source.name)) for source in list_sources(tree).sources}


def test_each_file_is_done_once_and_the_counters_are_the_sums(memory: agentmem.Memory, tree: Path) -> None:
    report = run_fleet(memory, tree).report
    found = findings(memory)
    assert found == expected(tree)
    assert report["exact"]
    assert report["counters"] == {
        "files": 44,
        "errors": 4,
        **{name: sum(f[name] for f in found.values()) for name in ("lines", "functions", "classes", "complexity")},
    }
    assert sum(report["work"].values()) == 44
    assert memory.queues() == [], "an empty queue leaves nothing"


def test_the_report_lists_the_largest_first(memory: agentmem.Memory, tree: Path) -> None:
    report = run_fleet(memory, tree).report
    found = findings(memory)
    ranked = sorted(found, key=lambda name: (-found[name]["complexity"], name))[:10]
    assert [row["file"] for row in report["complex_files"]] == ranked
    assert report["longest_functions"][0]["lines"] == max(f["longest"]["lines"] for f in found.values() if f["longest"])
    assert report["imports"] == [{"module": "json", "files": 40}, {"module": "os", "files": 40}]
    assert sorted(row["file"] for row in report["errors"]) == [name for name in found if found[name]["error"]]


def test_a_finding_names_its_analyst(memory: agentmem.Memory, tree: Path) -> None:
    outcome = run_fleet(memory, tree, analysts=2)
    entry = memory.entry(f"{outcome.prefix}{outcome.plan.prefix}findings/package0/module00.py")
    assert entry is not None
    assert entry.metadata["agent"] in outcome.report["work"]
    assert entry.expires_at is not None


def test_a_finished_run_is_not_repeated(memory: agentmem.Memory, tree: Path) -> None:
    first = run_fleet(memory, tree)
    before = list(memory.items())
    again = run_fleet(memory, tree)
    assert list(memory.items()) == before
    assert (again.report, again.plan.state, again.resumed_at) == (first.report, "done", 44)


def test_a_fresh_run_is(memory: agentmem.Memory, tree: Path) -> None:
    run_fleet(memory, tree)
    (tree / "package0" / "module00.py").write_text("changed = True\n")
    outcome = run_fleet(memory, tree, fresh=True)
    assert (outcome.plan.run, outcome.resumed_at) == (2, 0)
    assert findings(memory) == expected(tree)


def test_a_second_run_begins_with_what_the_first_one_learned(memory: agentmem.Memory, tree: Path) -> None:
    cold = run_fleet(memory, tree).report
    assert (cold["experience"], [row["size"] for row in cold["learned"]]) == (0, ["tiny"])
    assert 0 < cold["half_found_at"] <= 1
    warm = run_fleet(memory, tree, fresh=True).report
    assert warm["experience"] == cold["learned"][0]["lessons"] > 0
    assert warm["learned"][0]["lessons"] > warm["experience"]


def test_the_report_ends_with_what_the_agents_said(memory: agentmem.Memory, tree: Path) -> None:
    said = [line["what"] for line in run_fleet(memory, tree).report["journal"]]
    assert said[0].startswith("planned run 1: 44 files")
    assert said[1:] == ["began with 4 analysts at file 0", "every file of run 1 is done"]


def test_dropping_the_partition_leaves_nothing(memory: agentmem.Memory, tree: Path, board: Board, plan: Plan) -> None:
    run_fleet(memory, tree)
    assert (memory.queues(), len(memory.qtables())) == ([f"tree/{plan.prefix}files"], 1)
    memory.drop_partition("demo")
    assert (list(memory.items()), memory.queues(), memory.qtables()) == ([], [], [])


def test_nobody_is_left_alive(memory: agentmem.Memory, tree: Path) -> None:
    run_fleet(memory, tree)
    assert memory.count("*/fleet/*") == 0


def test_progress_shows_who_is_alive(memory: agentmem.Memory, tree: Path) -> None:
    shown: list[Progress] = []
    run_fleet(memory, tree, on_progress=shown.append)
    assert shown[0].plan.files == 44
    seen = {name: agent.role for progress in shown for name, agent in progress.alive.items()}
    assert all(name.startswith(f"{role}-") for name, role in seen.items())
    roles = list(seen.values())
    assert (roles.count("reporter"), roles.count("analyst") <= 4) == (1, True)


def test_an_empty_tree_gives_an_empty_report(memory: agentmem.Memory, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = run_fleet(memory, tmp_path / "empty").report
    assert report["exact"]
    assert (report["planned"], report["complex_files"], report["work"]) == (0, [], {})


def test_two_fleets_on_one_store_share_the_work(store_url: str, tree: Path) -> None:
    def fleet(_: int) -> dict[str, Any]:
        with agentmem.connect(store_url) as memory:
            return run_fleet(memory, tree, analysts=2).report

    reports = run_threads(2, fleet)
    assert all(report["exact"] for report in reports)
    # Not necessarily number 1: each planner takes a number, and the first to publish its plan wins.
    assert len({report["run"] for report in reports}) == 1
    with agentmem.connect(store_url) as memory:
        assert findings(memory) == expected(tree)


def test_two_trees_do_not_meet(memory: agentmem.Memory, tree: Path) -> None:
    one, other = run_fleet(memory, tree / "package1"), run_fleet(memory, tree / "package2")
    assert one.prefix != other.prefix
    assert one.report["exact"]
    assert other.report["exact"]


def test_an_interrupt_stops_cleanly_and_loses_nothing(memory: agentmem.Memory, tree: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_fleet(memory, tree, on_progress=interrupt)
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name == "analysts" or name.startswith("agentmem-worker") for name in names)
    left = sum((memory.queue(name).counts() for name in memory.queues()), ())
    assert left[3:] in ((), (0, 0)), "nothing is leased, nothing is dead"
    assert memory.count("*/findings/*") + sum(left) == 44
    assert run_fleet(memory, tree).report["exact"]
    assert findings(memory) == expected(tree)


class Faulty(Board):
    """A board whose steps fail as a shaky store's do: half of them before they were applied, half of them after."""

    def __init__(self, board: Board) -> None:
        super().__init__(board.memory, retention_seconds=3600, lease_seconds=0.3)
        self.calls = 0

    def complete(self, plan: Plan, job: Job, finding: dict[str, Any], metadata: dict[str, Any]) -> bool:
        self.calls += 1
        if self.calls % 3 == 0:
            raise Unavailable("not now")
        done = super().complete(plan, job, finding, metadata)
        if self.calls % 3 == 1:
            raise OutcomeUnknown("no reply")
        return done


def work(board: Board, plan: Plan, tree: Path, *names: str) -> None:
    """Let analysts of these names work until everything is done."""
    analysts = [Analyst(board, plan, tree, name) for name in names]
    crew = Crew(board, plan, analysts)
    crew.start()
    assert crew.has_ended(30)
    crew.stop()
    for analyst in analysts:
        analyst.leave()
    crew.raise_failure()


def test_an_analyst_bears_a_shaky_store(board: Board, plan: Plan, tree: Path) -> None:
    faulty = Faulty(board)
    work(faulty, plan, tree, "analyst-1", "analyst-2")
    assert faulty.calls > 44
    assert board.counters(plan)["files"] == 44
    assert sum(board.work(plan).values()) == 44
    assert {e.key.split("/findings/")[1]: e.value for e in board.findings(plan)} == expected(tree)


def test_an_analyst_gives_up_on_a_store_that_will_not_come_back(board: Board, plan: Plan, tree: Path) -> None:
    class Gone(Board):
        def complete(self, *args: Any) -> bool:
            raise Unavailable("wrong address", retryable=False)

    gone = Gone(board.memory, retention_seconds=3600, lease_seconds=5)
    with pytest.raises(Unavailable, match="wrong address"):
        work(gone, plan, tree, "analyst-1")


def test_the_fleet_gives_up_on_a_store_that_is_away_for_too_long(
    memory: agentmem.Memory, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise Unavailable("not now")

    monkeypatch.setattr("agentmem.demo.fleet.PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr("agentmem.demo.fleet.beat", away)
    monkeypatch.setattr(Board, "complete", away)
    with pytest.raises(Unavailable, match="not now"):
        run_fleet(memory, tree)


def test_an_analyst_that_fails_stops_the_fleet(
    memory: agentmem.Memory, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Board, *args: Any) -> bool:
        raise agentmem.PermissionDenied("read only")

    monkeypatch.setattr(Board, "complete", fail)
    with pytest.raises(agentmem.PermissionDenied, match="read only"):
        run_fleet(memory, tree)


def test_a_run_that_another_process_replaced_says_so(memory: agentmem.Memory, tree: Path) -> None:
    replaced = threading.Event()

    def replace_run(progress: Progress) -> None:
        if not replaced.is_set():
            replaced.set()
            board = Board(memory.scoped(next(memory.keys()).split("/")[0] + "/"), retention_seconds=60, lease_seconds=5)
            make_plan(board, tree, fresh=True)

    with pytest.raises(RunReplaced, match="run again"):
        run_fleet(memory, tree, on_progress=replace_run)


def test_the_file_of_a_dead_analyst_returns(board: Board, plan: Plan, tree: Path) -> None:
    (lost,) = board.queue(plan).claim(lease=0.3)
    work(board, plan, tree, "heir")
    assert lost.value["name"] in {entry.key.split("/findings/")[1] for entry in board.findings(plan)}
    assert board.work(plan) == {"heir": 44}
    assert board.journal(1)[0]["what"].startswith(f"took over {lost.value['name']}")
    assert not any(board.queue(plan).counts())
