"""Files become events exactly once, in pieces of a bearable size."""

import pytest

from pellucid.jobs import feed as feeds
from pellucid.jobs.feed import EventFeed
from pellucid.jobs.queue import Claim
from pellucid.jobs.workspace import Spool, Workspace
from support.workers import Bench


@pytest.fixture
def claim(bench: Bench) -> Claim:
    bench.submit()
    claim = bench.queue.claim("w", 60)
    assert claim is not None
    return claim


@pytest.fixture
def workspace(bench: Bench, claim: Claim) -> Workspace:
    workspace = bench.workspace(claim.job_id)
    workspace.root.mkdir(parents=True)
    return workspace


def resumed(bench: Bench, claim: Claim) -> Claim:
    """The next claim, after the first one's worker died."""
    bench.queue.heartbeat(claim, -1)
    found = bench.queue.claim("w2", 60)
    assert found is not None
    return found


def test_log_lines_arrive_whole_and_once(
    bench: Bench, claim: Claim, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_MOST_BYTES", 16)
    feed = EventFeed(bench.queue, claim, workspace)
    feed.send()
    text = "".join(f"line {i} ü\n" for i in range(9))
    workspace.log_path.write_text(text + "half")
    feed.send()
    assert bench.log(claim.job_id) == text
    second = resumed(bench, claim)
    with workspace.log_path.open("a") as log:
        log.write(" and half, without an end")
    feed = EventFeed(bench.queue, second, workspace)
    feed.send(final=True)
    feed.send(final=True)
    assert bench.log(claim.job_id) == text + "half and half, without an end"
    pieces = bench.queue.events(claim.job_id, kinds=["log"])
    assert max(len(piece.data["text"].encode()) for piece in pieces) <= 16


def test_many_events_arrive_in_order_and_once(
    bench: Bench, claim: Claim, workspace: Workspace
) -> None:
    spool = Spool(workspace.events_path)
    entries = [
        {"time": 1_700_000_000_000 + i, "kind": "progress", "data": {"epoch": i}}
        for i in range(450)
    ]
    spool.append(*entries[:300])
    EventFeed(bench.queue, claim, workspace).send()
    spool.append(*entries[300:])
    spool.close()
    EventFeed(bench.queue, resumed(bench, claim), workspace).send()
    events = bench.queue.events(claim.job_id, kinds=["progress"], limit=1000)
    assert [event.data["epoch"] for event in events] == list(range(450))
    assert events[7].time.timestamp() == pytest.approx(1_700_000_000.007)
    assert bench.queue.get(claim.job_id).progress == {"epoch": 449}


def test_files_that_began_anew_are_read_from_their_start(
    bench: Bench, claim: Claim, workspace: Workspace
) -> None:
    workspace.log_path.write_text("a long line of the first machine\n")
    EventFeed(bench.queue, claim, workspace).send()
    workspace.log_path.write_text("another\n")
    EventFeed(bench.queue, resumed(bench, claim), workspace).send()
    assert bench.log(claim.job_id).splitlines()[-1] == "another"
