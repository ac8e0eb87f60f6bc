"""How long a prediction takes, and how long its explanation, in this process on one thread."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from explaining.bundles import Content, Packed, packed, tumours
from explaining.peers import fails, peers
from pellucid import bundle

PREDICTION, EXPLANATION, AMORTIZED = "prediction", "explanation", "amortised explanation"
OURS = {PREDICTION: bundle.MODEL, EXPLANATION: bundle.EXPLAINER, AMORTIZED: bundle.AMORTIZED}
SIZES = (1, 64)  # rows at once
_DIFFERENT, _FEWEST, _TRIED = 16, 3, 8

MLP: Content = {"model": {"kind": "mlp", "widths": [256, 256]}}
TABM: Content = {"model": {"kind": "tabm"}}
_EXPLAINED = {"amortized": True}
NETWORKS: dict[str, Content] = {
    "MLP 30-256-256": MLP | {"explanation": _EXPLAINED},
    "TabM": TABM | {"explanation": _EXPLAINED},
    "TabM, 100 background rows": TABM
    | {"explanation": _EXPLAINED | {"background": 100, "background_choice": "stratified"}},
}
Call = Callable[[int], object]
"""Explains or predicts the rows of a number."""


@dataclass(frozen=True)
class Case:
    """A network and how many rows there are at once."""

    network: str
    rows: int
    calls: dict[str, Call]


def measure(rounds: int, seconds: float, epochs: int) -> dict[str, Any]:
    """Every contender once in each round, in an order that changes.

    Returns:
        `cases`: network -> rows -> contender -> milliseconds {p50, p99, calls} of each round.
        `absent`: "network, contender" -> why. `networks`: what they are.
    """
    absent: dict[str, str] = {}
    told: dict[str, dict[str, Any]] = {}
    cases: list[Case] = []
    with ExitStack() as stack:
        for name, content in NETWORKS.items():
            found = stack.enter_context(packed(tumours(), content, epochs))
            told[name] = _described(found)
            cases += _cases(name, found, absent)
        times: dict[str, Any] = {}
        for number in range(rounds):
            for case in cases:
                kept = times.setdefault(case.network, {}).setdefault(str(case.rows), {})
                for contender in _turned([*case.calls], number):
                    found = timed(case.calls[contender], seconds)
                    kept.setdefault(contender, []).append(found)
            print(f"speed, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return {"cases": times, "absent": absent, "networks": told}


def timed(call: Call, seconds: float) -> dict[str, float]:
    """Milliseconds of calls for some seconds; three calls at least, and one before that."""
    call(0)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < _FEWEST or time.perf_counter() < until:
        started = time.perf_counter()
        call(len(times) % _DIFFERENT)
        times.append(time.perf_counter() - started)
    p50, p99 = 1e3 * np.percentile(times, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "calls": len(times)}


def _described(found: Packed) -> dict[str, Any]:
    told = found.told
    return {
        "method": told.method,
        "background": told.background,
        "width": found.background.shape[1],
        "amortized": told.amortized,
        "explainer_bytes": (found.bundle.root / bundle.EXPLAINER).stat().st_size,
    }


def _cases(name: str, found: Packed, absent: dict[str, str]) -> list[Case]:
    network, background = found.fitted.network, found.background
    others = {}
    rows = found.dense(found.explained.rows)
    for peer, explain in peers(network, background, len(found.told.outputs)).items():
        why = fails(explain, network, background, rows[:_TRIED])
        if why is None:
            others[peer] = explain
        else:
            absent[f"{name}, {peer}"] = why
    cases = []
    for size in SIZES:
        batches = [_batch(found, size, number) for number in range(_DIFFERENT)]
        feeds = [found.feed(each) for each in batches]
        tensors = [found.dense(each) for each in batches]
        once = (PREDICTION, AMORTIZED)
        calls = {title: _run(found.session(OURS[title]), feeds) for title in once}
        most = found.told.batch_rows
        runs = [[found.feed(each.slice(i, most)) for i in range(0, size, most)] for each in batches]
        calls[EXPLANATION] = _runs(found.session(bundle.EXPLAINER), runs)
        calls |= {peer: _explain(explain, tensors) for peer, explain in others.items()}
        cases.append(Case(name, size, calls))
    return cases


def _batch(found: Packed, size: int, number: int) -> Any:
    """Some rows, another part of them for each number; taken again from the start at the end."""
    examples = found.fitted.examples
    rows = (np.arange(size) + number * size) % len(examples.table)
    return examples.take(rows)


def _run(session: Any, feeds: Sequence[Any]) -> Call:
    return lambda number: session.run(None, feeds[number])


def _runs(session: Any, feeds: Sequence[Sequence[Any]]) -> Call:
    """In runs of as many rows as the manifest says, as they are served."""
    return lambda number: [session.run(None, feed) for feed in feeds[number]]


def _explain(explain: Callable[[torch.Tensor], object], tensors: Sequence[torch.Tensor]) -> Call:
    return lambda number: explain(tensors[number])


def _turned(names: list[str], number: int) -> list[str]:
    turn = number % len(names)
    return names[turn:] + names[:turn]
