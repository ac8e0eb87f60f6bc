"""`pellucid traffic` and `client.models` about competition, against scripted answers."""

import json

import pytest
from typer.testing import CliRunner

from pellucid.cli import app

TRAFFIC = {
    "model": "credit",
    "champion": 1,
    "challenger": {"version": 3, "share": 0.1},
    "shadow": None,
    "failures": {"challenger": "It is damaged."},
}
SIDE = {
    "version": 1,
    "requests": 900,
    "errors": 2,
    "latency": {"p50": 1e-3, "p90": 2e-3, "p99": 3e-3},
}
COMPARISONS = {
    "model": "credit",
    "champion": 1,
    "comparisons": [
        {
            "role": "challenger",
            "share": 0.1,
            "since": "2026-01-02T00:00:00Z",
            "champion": SIDE,
            "contender": {**SIDE, "version": 3, "requests": 100, "latency": None},
            "copied": 40,
            "dropped": 3,
            "agreement": {
                "rows": 60,
                "equal_labels": 0.95,
                "mean_difference": 0.0125,
                "largest_difference": 0.5,
                "incomparable": 0,
            },
            "tests": [
                {
                    "of": "share of failed requests",
                    "test": "two proportions, z",
                    "difference": 0.018,
                    "low": 0.001,
                    "high": 0.06,
                    "p_value": 0.004,
                    "significant": True,
                }
            ],
        }
    ],
    "achieved": [
        {
            "version": 2,
            "metric": "roc_auc",
            "value": 0.7125,
            "low": 0.68,
            "high": None,
            "start": "2026-11-21T18:00:00Z",
            "end": "2026-11-21T19:00:00Z",
        }
    ],
    "labels": "Of each version's newest window.",
}


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    return result.exit_code, result.output


def test_rules_are_set_and_shown(service) -> None:
    asked = service(TRAFFIC)
    command = ("traffic", "set", "credit", "--challenger", 3, "--share", 0.1, "--shadow", 4)
    code, text = run(*command)
    assert code == 0
    assert (asked[0].method, asked[0].url.path) == ("PUT", "/v1/models/credit/traffic")
    assert json.loads(asked[0].content) == {
        "challenger": {"version": 3, "share": 0.1},
        "shadow": {"version": 4, "share": 1},
    }
    assert "version 3, 0.1 of the requests" in text
    assert "It is damaged." in text


@pytest.mark.parametrize(
    "options",
    [
        ("--challenger", 3),
        ("--share", 0.5),
        ("--shadow-share", 0.5),
        (),
        ("--challenger", 3, "--share", 1.5),
    ],
)
def test_half_a_rule_is_refused(service, options) -> None:
    asked = service(TRAFFIC)
    code, _ = run("traffic", "set", "credit", *options)
    assert code != 0
    assert not asked


def test_a_competition_is_ended(service) -> None:
    asked = service(TRAFFIC)
    code, text = run("traffic", "abort", "credit", "--json")
    assert (code, json.loads(text)) == (0, TRAFFIC)
    assert asked[0].method == "DELETE"


def test_a_comparison_is_told(service) -> None:
    service(COMPARISONS)
    code, text = run("traffic", "compare", "credit")
    assert code == 0
    for part in ("challenger", "900", "0.95", "0.0125", "+0.018 (+0.001 to +0.06), p = 0.004"):
        assert part in text
    assert "Of each version's newest window." in text
    assert all(part in text for part in ("roc_auc", "0.7125", "0.68", "2026-11-21 18:00"))
    service({**COMPARISONS, "comparisons": []})
    assert "Nothing competes with version 1." in run("traffic", "compare", "credit")[1]


def test_the_challenger_is_promoted_without_naming_it(service) -> None:
    asked = service({"name": "credit", "aliases": {"champion": 3}, "latest": 3, "serving": []})
    assert run("models", "promote", "credit")[0] == 0
    assert json.loads(asked[0].content) == {}
