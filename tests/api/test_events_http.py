"""A job's events as a live stream, and its log."""

import json
import threading
import time
from itertools import islice

import pytest
from fastapi import routing

from pellucid.db.base import now
from pellucid.errors import DatabaseUnavailable
from pellucid.resources.jobs import Event, JobStatus
from pellucid_api.routers import events as module

PLAN = {"name": "credit", "data": {"dataset": "d"}, "target": "y"}


@pytest.fixture
def job(client, monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    made, _ = client.services.queue.submit(PLAN, name="credit", data_version="d" * 64)
    return made.id


@pytest.fixture
def claim(client, job):
    return client.services.queue.claim("worker-1", 60)


def add(client, claim, *events):
    client.services.queue.append_events(claim, [(kind, data, now()) for kind, data in events])


def finish(client, claim):
    client.services.queue.finish(claim, JobStatus.SUCCEEDED, "Done.", result={"roc_auc": 0.8})


def watch(client, job, **headers):
    """Every event of the stream (id, kind, event) and every comment, until it ends."""
    events, comments, fields = [], [], {}
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith(":"):
                comments.append(line)
            elif line:
                key, _, value = line.partition(": ")
                fields[key] = value
            elif fields:
                event = Event.model_validate(json.loads(fields["data"]))
                events.append((int(fields["id"]), fields["event"], event))
                fields = {}
    return events, comments


def test_a_stream_is_live_and_ends_with_the_job(client, job, claim):
    found = []
    watcher = threading.Thread(target=lambda: found.extend(watch(client, job)[0]))
    watcher.start()
    for epoch in range(3):
        add(client, claim, ("progress", {"epoch": epoch}))
        time.sleep(0.05)
    add(client, claim, ("log", {"text": "a line\n"}))
    finish(client, claim)
    watcher.join(60)
    assert not watcher.is_alive()
    ids = [seq for seq, _, _ in found]
    kinds = [kind for _, kind, _ in found]
    assert ids == sorted(set(ids))
    assert kinds == ["state", "state", "progress", "progress", "progress", "result", "state"]
    assert [e.data["epoch"] for _, kind, e in found if kind == "progress"] == [0, 1, 2]
    assert found[-1][2].data["status"] == "succeeded"
    assert all(seq == event.seq and kind == event.kind for seq, kind, event in found)


def test_a_stream_goes_on_behind_the_last_event_seen(client, job, claim):
    add(client, claim, *[("progress", {"epoch": epoch}) for epoch in range(5)])
    finish(client, claim)
    whole, _ = watch(client, job)
    rest, _ = watch(client, job, **{"Last-Event-ID": str(whole[3][0])})
    assert rest == whole[4:]
    nothing, _ = watch(client, job, **{"Last-Event-ID": str(whole[-1][0])})
    assert nothing == []


def test_a_job_with_many_events_is_told_whole(client, job, claim):
    add(client, claim, *[("progress", {"epoch": epoch}) for epoch in range(1203)])
    finish(client, claim)
    events, _ = watch(client, job)
    assert [e.data["epoch"] for _, kind, e in events if kind == "progress"] == list(range(1203))


@pytest.mark.parametrize("given", ["x", "-1", "1.5"])
def test_an_odd_last_event_id_is_refused(client, job, given):
    response = client.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": given})
    assert response.status_code == 422


def test_a_stream_outlives_a_database_outage(client, job, claim, monkeypatch):
    queue = client.services.queue
    events = queue.events
    outages = 3

    def sometimes(*arguments, **options):
        nonlocal outages
        if outages:
            outages -= 1
            raise DatabaseUnavailable("It is down.")
        return events(*arguments, **options)

    monkeypatch.setattr(queue, "events", sometimes)
    finish(client, claim)
    found, comments = watch(client, job)
    assert found[-1][2].data["status"] == "succeeded"
    assert sum("does not answer" in comment for comment in comments) == 3


def test_an_idle_stream_has_heartbeats(client, job, claim, monkeypatch):
    monkeypatch.setattr(routing, "_PING_INTERVAL", 0.05)
    with client.stream("GET", f"/v1/jobs/{job}/events") as response:
        comments = (line for line in response.iter_lines() if line.startswith(":"))
        assert len(list(islice(comments, 2))) == 2
        finish(client, claim)


def test_streams_leave_no_thread_behind_and_others_are_served_meanwhile(client, job, claim):
    watchers = [threading.Thread(target=watch, args=(client, job)) for _ in range(60)]
    for watcher in watchers:
        watcher.start()
    assert client.get("/v1/jobs").status_code == 200  # before the streams end
    finish(client, claim)
    for watcher in watchers:
        watcher.join(60)
        assert not watcher.is_alive()


def test_the_log_is_text(client, job, claim):
    add(
        client,
        claim,
        ("log", {"text": "epoch 1\nepo"}),
        ("progress", {}),
        ("log", {"text": "ch é\n"}),
    )
    response = client.get(f"/v1/jobs/{job}/logs")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "epoch 1\nepoch é\n"


def test_a_log_is_followed_until_the_job_ends(client, job, claim):
    add(client, claim, ("log", {"text": "first\n"}))
    lines = []

    def follow():
        with client.stream("GET", f"/v1/jobs/{job}/logs?follow=true") as response:
            lines.extend(response.iter_lines())

    follower = threading.Thread(target=follow)
    follower.start()
    time.sleep(0.1)
    add(client, claim, ("log", {"text": "second\n"}))
    finish(client, claim)
    follower.join(60)
    assert lines == ["first", "second"]
