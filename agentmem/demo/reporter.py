"""The reporter: checks the fleet's books and makes tables of what it found, by searching memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from agentmem.demo.board import COUNTED
from agentmem.demo.orders import learned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.demo.board import Board, Plan
    from agentmem.entries import Entry

#: Rows of each table.
TOP: Final = 10

#: Lines of the journal.
_LINES: Final = 8

#: Where a search for the largest begins; each next try is four times more modest.
_THRESHOLDS: Final = (*(4**power for power in range(7, -1, -1)), 0)


def report(board: Board, plan: Plan) -> dict[str, Any]:
    """Sum up a run.

    Returns:
        A JSON object: `sums` over the findings, the shared `counters`, whether they are `exact`ly equal and agree
        with the plan and the agents' own tallies, the tables, and what was learned.
    """
    findings = list(board.findings(plan))
    sums, imports = _sum_up(findings)
    counters = board.counters(plan)
    broken = _find(board, plan, {"error": {"$ne": None}})
    work = board.work(plan)
    return {
        "path": plan.path,
        "run": plan.run,
        "planned": plan.files,
        "sums": sums,
        "counters": counters,
        "exact": sums == counters and sums["files"] == plan.files == sum(work.values()),
        "work": work,
        "complex_files": [_row(entry, plan) for entry in _largest(board, plan, "complexity")],
        "longest_functions": [_function_row(entry, plan) for entry in _largest(board, plan, "longest.lines")],
        "imports": [{"module": module, "files": files} for module, files in imports.most_common(TOP)],
        "errors": [{"file": _file(e, plan), "error": e.value["error"]} for e in broken],
        "last": [{"file": _file(e, plan), "agent": e.metadata["agent"]} for e in _newest(board, plan)],
        "skipped": list(plan.skipped),
        "order": list(plan.order),
        "experience": plan.experience,
        "half_found_at": _half_found_at(findings),
        "learned": learned(board.orders),
        "journal": board.journal(_LINES),
    }


def _half_found_at(findings: list[Entry]) -> float | None:
    """After which share of the analysts' working time half of all functions were found: small in a good order."""
    half = sum(entry.value["functions"] for entry in findings) / 2
    total_ms = sum(float(entry.metadata["took_ms"]) for entry in findings)
    spent_ms, found = 0.0, 0
    for entry in sorted(findings, key=lambda entry: entry.created_at):
        spent_ms += entry.metadata["took_ms"]
        found += entry.value["functions"]
        if found >= half > 0:
            return round(spent_ms / total_ms, 3) if total_ms else None
    return None


def _sum_up(findings: list[Entry]) -> tuple[dict[str, int], Counter[str]]:
    sums = dict.fromkeys((*COUNTED, "files", "errors"), 0)
    imports: Counter[str] = Counter()
    for entry in findings:
        finding = entry.value
        sums["files"] += 1
        sums["errors"] += finding["error"] is not None
        for name in COUNTED:
            sums[name] += finding[name]
        imports.update(finding["imports"])
    return sums, imports


def _largest(board: Board, plan: Plan, field: str) -> list[Entry]:
    """The findings with the largest values of a field, the store picking them out.

    A search orders by key or by time, so thresholds are tried downwards until enough findings lie above one.
    """
    found: list[Entry] = []
    for threshold in _THRESHOLDS:
        found = list(_find(board, plan, {field: {"$gte": threshold}}))
        if len(found) >= TOP:
            break
    return sorted(found, key=lambda entry: (-_value(entry, field), entry.key))[:TOP]


def _value(entry: Entry, field: str) -> int:
    value = entry.value
    for name in field.split("."):
        value = value[name]
    return int(value)


def _find(board: Board, plan: Plan, where: dict[str, Any]) -> Iterator[Entry]:
    """Every finding that the filter lets through, page by page."""
    cursor = None
    while True:
        page = board.memory.search(f"{plan.prefix}findings/*", where=where, limit=500, cursor=cursor)
        yield from page
        cursor = page.cursor
        if cursor is None:
            return


def _newest(board: Board, plan: Plan) -> list[Entry]:
    return list(board.memory.search(f"{plan.prefix}findings/*", order="updated", descending=True, limit=3))


def _file(entry: Entry, plan: Plan) -> str:
    return entry.key.removeprefix(f"{plan.prefix}findings/")


def _row(entry: Entry, plan: Plan) -> dict[str, Any]:
    finding = entry.value
    fields = ("complexity", "functions", "lines")
    return {"file": _file(entry, plan), **{name: finding[name] for name in fields}, "knottiest": finding["knottiest"]}


def _function_row(entry: Entry, plan: Plan) -> dict[str, Any]:
    return {"file": _file(entry, plan), **entry.value["longest"]}
