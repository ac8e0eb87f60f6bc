"""However many alerts were resolved, indexes lead to those that are looked at."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from pellucid.db.session import Database
from pellucid.monitoring.alerts import history, silences
from pellucid.monitoring.alerts.engine import evaluate, sweep
from pellucid.monitoring.alerts.resources import WantedSilence
from support.alerting import hours, signal

NEW = [signal(subject=f"column {n}") for n in range(3)]
QUIET = WantedSilence(until=hours(9), by="ada", reason="a release")


@pytest.mark.parametrize(
    ("ask", "wrong"),
    [
        (lambda database: sweep(database, hours(2)), "SCAN"),
        (lambda database: silences.add(database, QUIET, hours(2)), "SCAN"),
        (
            lambda database: evaluate(database, "credit", 1, hours(2), NEW, now=hours(2)),
            "(model=?)",  # all of a model's
        ),
        (lambda database: history.listed(database, model="credit"), "TEMP B-TREE"),
        (lambda database: history.listed(database, state="resolved"), "TEMP B-TREE"),
        (lambda database: history.listed(database, state="firing"), "TEMP B-TREE"),
    ],
    ids=["sweep", "silence", "evaluate", "of a model", "resolved", "firing"],
)
def test_no_query_reads_or_sorts_all_alerts(
    database: Database, ask: Callable[[Database], Any], wrong: str
) -> None:
    evaluate(database, "credit", 1, hours(0), [signal()], now=hours(0))
    plans: list[str] = []

    def explain(_: Any, cursor: Any, statement: str, given: Any, *__: Any) -> None:
        if statement.startswith("SELECT") and "FROM alerts" in statement:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", given)
            plans.extend(str(row[-1]) for row in cursor.fetchall())

    event.listen(database.engine, "before_cursor_execute", explain)
    ask(database)
    assert plans
    assert not [plan for plan in plans if wrong in plan or plan.startswith("SCAN")]
