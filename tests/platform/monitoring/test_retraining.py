"""Retraining: which rows, which plan, how often, and what becomes of it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from pellucid.bundle import Bundle, Input, Manifest
from pellucid.datasets.store import DatasetStore
from pellucid.db.base import Base
from pellucid.db.session import Database
from pellucid.db.tables.jobs import JobRow
from pellucid.errors import TrackerUnavailable
from pellucid.jobs.queue import JobQueue
from pellucid.monitoring import ids
from pellucid.monitoring.alerts import history, rulebook
from pellucid.monitoring.alerts.engine import evaluate
from pellucid.monitoring.alerts.resources import WantedRules
from pellucid.monitoring.alerts.retraining import Retraining
from pellucid.monitoring.alerts.rules import Retrain, Rule
from pellucid.monitoring.columns import Columns
from pellucid.plan import Plan, resolve
from pellucid.resources.jobs import Job, JobStatus
from pellucid.schema import Kind, Role
from pellucid.settings import Settings
from pellucid.tracking import traffic
from pellucid.tracking.contract import CHALLENGER, CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.alerting import signal
from support.bundles import make_bundle
from support.feedback import INPUTS, OUTPUTS, Desk, classified
from support.predictions import a_writer, number_at, write

NOW = datetime.now(UTC).replace(microsecond=0)
ROLES = {
    "outcome": Role.TARGET,
    "sex": Role.SENSITIVE,
    "when": Role.TIME,
    "ref": Role.ID,
    "weight": Role.WEIGHT,
    "memo": Role.IGNORE,
}


def original(rows: int = 40) -> pa.Table:
    return pa.table(
        {
            "amount": pa.array(range(rows), pa.int64()),
            "purpose": ["car", "boat"] * (rows // 2),
            "sex": ["f", "m"] * (rows // 2),
            "when": pa.array([datetime(2026, 1, 1)] * rows, pa.timestamp("us", tz="UTC")),
            "ref": [f"r{n}" for n in range(rows)],
            "weight": [2.0] * rows,
            "memo": ["x", "y"] * (rows // 2),
            "outcome": ["bad", "good"] * (rows // 2),
        }
    )


class Home:
    """A champion that was trained on a data set, its predictions, labels and alerts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = Settings(home=root / "home")
        self.database = Database(f"sqlite:///{root / 'pellucid.db'}")
        Base.metadata.create_all(self.database.engine)
        self.registry = MemoryTracker(root / "registry")
        self.datasets = DatasetStore(self.settings.home, self.database)
        self.queue = JobQueue(self.database)
        self.desk = Desk(self.settings.home)
        self.retraining = Retraining(self.settings, self.database, self.registry)
        pq.write_table(original(), root / "credit.parquet")
        self.dataset, _ = self.datasets.add(root / "credit.parquet", name="credit", roles=ROLES)

    def champion(self, **changes: Any) -> None:
        plan = Plan.parse({"name": "credit", "data": {"dataset": "credit@1"}} | changes)
        resolved, _ = resolve(plan, self.dataset.data_schema)
        made = make_bundle(self.root / "bundle")
        document = made.manifest.model_dump(mode="json") | {
            "plan": resolved.model_dump(mode="json"),
            "data_version": self.dataset.sha256,
        }
        Bundle.seal(self.root / "bundle", Manifest.model_validate_json(json.dumps(document)))
        self.registry.register("run-1", "credit", self.root / "bundle", {})
        self.registry.set_alias("credit", CHAMPION, 1)

    def predict(self, rows: int, amount: Any = None, days_ago: float = 1) -> ids.Words:
        """Recorded as the service does, with a sensitive column that is no input."""
        moment = NOW - timedelta(days=days_ago)
        words = ids.from_numbers(
            [number_at(moment.timestamp() + n, n) for n in range(rows)], np.ones(rows, np.int64)
        )
        beside = (Input.of("sex", Kind.CATEGORICAL),)
        columns = Columns("credit", 1, INPUTS, OUTPUTS, sensitive=beside)
        inputs = {
            "amount": np.arange(rows, dtype=float) if amount is None else amount,
            "purpose": np.array(["kite"] * rows, object),
        }
        made = columns.batch(
            words,
            (words[:, 0] >> np.uint64(16)).astype(np.int64) * 1000,
            np.ones(rows, np.float32),
            inputs,
            classified(np.full(rows, 0.7)),
            {"sex": np.array(["f"] * rows, object)},
        )
        writer = a_writer(self.settings.home / "predictions")
        write(writer, made)
        writer.close()
        return words

    def labelled(self, rows: int, **options: Any) -> ids.Words:
        words = self.predict(rows, **options)
        self.desk.take(words, ["good", "bad"] * (rows // 2))
        return words

    def alarm(self, *subjects: str, **retrain: Any) -> None:
        wanted = Retrain.model_validate({"min_rows": 10} | retrain)
        rule = Rule(name="r", action="retrain", retrain=wanted)
        rulebook.replace(self.database, WantedRules(rules=(rule,), by="ada"))
        found = [signal(subject=subject) for subject in subjects or ("roc_auc",)]
        evaluate(self.database, "credit", 1, NOW, found, now=NOW)

    def events(self, place: int = 0) -> list[Any]:
        alert = history.listed(self.database).items[place]
        found = history.get(self.database, alert.id).events
        return [event for event in found if event.kind in ("retrain", "retrained")]

    @property
    def states(self) -> list[str]:
        return [event.data["state"] for event in self.events()]

    def job(self) -> Job:
        (job,) = self.queue.list().items
        return job

    def end(self, **values: Any) -> None:
        with self.database.transaction() as session:
            session.execute(update(JobRow).values(**values))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.desk.writer.close()
    home.database.close()


def test_an_alert_trains_the_champions_plan_on_what_it_has_met_since(home: Home) -> None:
    home.champion(training={"epochs": 7})
    words = home.labelled(20)
    home.predict(5)  # without labels
    home.labelled(8, days_ago=100)  # before the window
    home.alarm(append=True)
    (submitted,) = home.retraining.step(NOW)
    job = home.job()
    assert job.id == submitted
    assert job.plan["training"]["epochs"] == 7
    assert job.plan["data"]["dataset"] == "credit@2"
    made = home.datasets.get("credit@2")
    assert made.parent == home.dataset.sha256
    assert job.data_version == made.sha256
    assert made.data_schema == home.dataset.data_schema
    table = pq.read_table(home.datasets.path(made.sha256)).sort_by("when")
    assert table.slice(0, 40).equals(original())
    fresh = table.slice(40).to_pylist()
    assert len(fresh) == 20
    assert [row["amount"] for row in fresh] == list(range(20))
    assert [row["outcome"] for row in fresh] == ["good", "bad"] * 10
    assert [row["ref"] for row in fresh] == [ids.text(i) for i in ids.to_arrow(words).to_pylist()]
    assert {(r["purpose"], r["sex"], r["weight"], r["memo"]) for r in fresh} == {
        ("kite", "f", 1.0, None)
    }
    assert fresh[3]["when"].replace(tzinfo=UTC) == NOW - timedelta(days=1) + timedelta(seconds=3)
    (event,) = home.events()
    assert event.data["job"] == job.id
    assert event.data["dataset"] == "credit@2"
    assert history.listed(home.database).items[0].job_id == job.id


def test_fresh_rows_stand_alone(home: Home) -> None:
    home.champion()
    home.labelled(20)
    home.alarm()
    home.retraining.step(NOW)
    assert home.datasets.get("credit@2").rows == 20


def test_fractions_in_a_column_of_whole_numbers_are_kept(home: Home) -> None:
    home.champion()
    home.labelled(20, amount=np.linspace(0, 1, 20))
    home.alarm(append=True)
    home.retraining.step(NOW)
    made = home.datasets.get("credit@2")
    assert made.data_schema["amount"].type == "float64"
    amounts = pq.read_table(home.datasets.path(made.sha256)).column("amount").to_pylist()
    assert amounts[:40] == list(range(40))
    assert sorted(amounts[40:]) == np.linspace(0, 1, 20).tolist()


def test_numbers_that_no_integer_holds_are_kept(home: Home) -> None:
    home.champion()
    amount = np.arange(20.0)
    amount[3], amount[4] = 1e300, 2.0**62
    home.labelled(20, amount=amount)
    home.alarm(append=True)
    home.retraining.step(NOW)
    made = home.datasets.get("credit@2")
    read = pq.read_table(home.datasets.path(made.sha256)).column("amount").to_pylist()
    assert sorted(read[40:]) == sorted(amount.tolist())


def test_what_goes_wrong_holds_up_no_other_alert(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.champion()
    home.labelled(20)
    home.alarm("roc_auc", "recall")
    real, asked = Retraining._retrain, []

    def fails_once(self: Retraining, *given: Any) -> Any:
        asked.append(given)
        if len(asked) == 1:
            raise pa.ArrowInvalid("a damaged file")
        return real(self, *given)

    monkeypatch.setattr(Retraining, "_retrain", fails_once)
    assert len(home.retraining.step(NOW)) == 1  # the second alert's
    assert "damaged file" in home.events(1)[0].data["reason"]
    home.retraining.step(NOW + timedelta(minutes=5))
    assert len(asked) == 2  # the first one rests
    home.retraining.step(NOW + timedelta(hours=1))
    assert [event.data["state"] for event in home.events(1)] == ["waiting", "cooling"]


def test_a_job_that_cannot_be_followed_now_is_followed_later(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.champion()
    home.labelled(20)
    home.alarm()
    home.retraining.step(NOW)
    home.end(status=JobStatus.FAILED, reason="It broke.")
    with monkeypatch.context() as patch:
        patch.setattr(Retraining, "_follow", lambda *_: 1 / 0)
        assert home.retraining.step(NOW) == []
    home.retraining.step(NOW)
    assert [event.kind for event in home.events()] == ["retrain", "retrained"]


def test_it_happens_once_for_an_alert(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.champion()
    home.labelled(20)
    home.alarm()
    with monkeypatch.context() as patch:  # the process dies after it has submitted
        patch.setattr(Retraining, "_note", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            home.retraining.step(NOW)
    home.labelled(20, days_ago=2)  # and meanwhile the window has changed
    first = home.job()
    assert home.retraining.step(NOW) == [first.id]
    for hour in range(5):
        home.retraining.step(NOW + timedelta(hours=hour))
    assert home.job().id == first.id
    assert home.states == ["submitted"]


def test_another_alert_waits_for_the_cool_down(home: Home) -> None:
    home.champion()
    home.labelled(20)
    home.alarm("roc_auc", "recall")
    assert len(home.retraining.step(NOW)) == 1
    assert sorted(e.data["state"] for place in (0, 1) for e in home.events(place)) == [
        "cooling",
        "submitted",
    ]
    home.end(status=JobStatus.FAILED, reason="It broke.")
    assert home.retraining.step(NOW + timedelta(days=6)) == []
    home.labelled(20, days_ago=0.5)
    assert len(home.retraining.step(NOW + timedelta(days=7, hours=2))) == 1
    assert len(home.queue.list().items) == 2


def test_too_few_labels_are_waited_for(home: Home) -> None:
    home.champion()
    home.labelled(8)
    home.alarm()
    assert home.retraining.step(NOW) == []
    home.labelled(20, days_ago=2)
    assert home.retraining.step(NOW + timedelta(minutes=1)) == []  # asked again within the hour
    assert len(home.retraining.step(NOW + timedelta(hours=1))) == 1
    assert home.states == ["waiting", "submitted"]


def test_a_registry_that_is_down_is_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise TrackerUnavailable("MLflow does not answer.")

    home.champion()
    home.labelled(20)
    home.alarm()
    with monkeypatch.context() as patch:
        patch.setattr(home.registry, "model", down)
        assert home.retraining.step(NOW) == []
    assert home.events() == []
    assert len(home.retraining.step(NOW)) == 1


def test_a_silenced_or_resolved_alert_trains_nothing(home: Home) -> None:
    home.champion()
    home.labelled(20)
    home.alarm()
    end = NOW + timedelta(hours=1)
    evaluate(home.database, "credit", 1, end, [signal("ok")], now=end)
    assert home.retraining.step(end) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"serving": {"log": {"redact": ["amount"]}}}, "not recorded"), (None, "made elsewhere")],
)
def test_what_cannot_be_done_is_refused_once(
    home: Home, changes: dict[str, Any] | None, reason: str
) -> None:
    if changes is None:
        model = make_bundle(home.root / "bundle").model_path
        home.registry.register_onnx("run-1", "credit", model, {})
        home.registry.set_alias("credit", CHAMPION, 1)
    else:
        home.champion(**changes)
    home.labelled(20)
    home.alarm()
    for hour in (0, 2):
        assert home.retraining.step(NOW + timedelta(hours=hour)) == []
    (event,) = home.events()
    assert event.data["state"] == "refused"
    assert reason in event.data["reason"]


def test_a_version_that_is_champion_no_longer_is_not_trained_again(home: Home) -> None:
    home.champion()
    home.registry.register("run-2", "credit", home.root / "bundle", {})
    home.registry.set_alias("credit", CHAMPION, 2)
    home.alarm()
    assert home.retraining.step(NOW) == []
    assert "not the champion" in home.events()[0].data["reason"]


def test_one_class_alone_is_refused(home: Home) -> None:
    home.champion()
    words = home.predict(20)
    home.desk.take(words, ["good"] * 20)
    home.alarm()
    assert home.retraining.step(NOW) == []
    assert "nothing to learn" in home.events()[0].data["reason"]


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_challenger_gets_the_share_that_the_rule_grants(home: Home, share: float) -> None:
    home.champion()
    home.labelled(20)
    home.alarm(share=share)
    home.retraining.step(NOW)
    home.registry.register("run-2", "credit", home.root / "bundle", {})
    home.registry.set_alias("credit", CHALLENGER, 2)
    home.end(
        status=JobStatus.SUCCEEDED,
        reason="Registered as credit/2.",
        model_version=2,
        result={"alias": CHALLENGER},
    )
    for _ in range(2):
        home.retraining.step(NOW + timedelta(minutes=5))
    _, event = home.events()
    assert (event.kind, event.data["version"], event.data["share"]) == ("retrained", 2, share)
    rules = traffic.rules_of(home.registry.model("credit"))
    wanted = traffic.Contender(version=2, share=share) if share else None
    assert rules.challenger == wanted
