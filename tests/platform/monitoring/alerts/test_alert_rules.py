"""Rules: which signals they fit, and which of them decides."""

import pytest
from pydantic import ValidationError

from pellucid.monitoring.alerts.rules import DEFAULT_RULES, Match, Rule, Rules
from support.alerting import signal


def test_a_rule_fits_by_model_kind_subject_effect_and_importance() -> None:
    rule = Rule(
        name="r",
        match=Match(model="credit-*", kinds=("drift",), subject="inc*"),
        min_effect=0.1,
        min_importance=0.2,
    )
    fitting = signal(kind="drift", subject="income", effect=-0.3, importance=0.2)
    assert rule.fits("credit-eu", fitting)
    assert not rule.fits("fraud", fitting)
    for change in (
        {"kind": "missing"},
        {"subject": "age"},
        {"effect": 0.05},
        {"effect": None},
        {"importance": 0.1},
        {"importance": None},
    ):
        assert not rule.fits("credit-eu", fitting.model_copy(update=change)), change


def test_the_first_rule_that_fits_decides() -> None:
    rules = Rules(
        rules=(
            Rule(name="large", min_effect=0.5, severity="critical"),
            Rule(name="bias", match=Match(kinds=("bias",))),
        )
    )
    assert rules.deciding("m", signal(kind="bias", effect=0.6)).name == "large"  # type: ignore[union-attr]
    assert rules.deciding("m", signal(kind="bias", effect=0.1)).name == "bias"  # type: ignore[union-attr]
    assert rules.deciding("m", signal(kind="drift", effect=0.1)) is None


@pytest.mark.parametrize(
    ("kind", "importance", "severity"),
    [
        ("performance", None, "critical"),
        ("type", None, "critical"),
        ("bias", None, "critical"),
        ("output", None, "warning"),
        ("drift", 0.3, "warning"),
        ("drift", 0.001, "info"),
        ("traffic", None, "info"),
    ],
)
def test_the_defaults_know_what_matters(kind: str, importance: float, severity: str) -> None:
    rule = DEFAULT_RULES.deciding("any", signal(kind=kind, importance=importance))
    assert rule is not None
    assert rule.severity == severity
    assert rule.sinks == (("log",) if severity == "info" else ("log", "webhook", "slack", "email"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "r", "severity": "loud"},
        {"name": "r", "sinks": ["pager"]},
        {"name": "r", "for_windows": 0},
        {"name": "r", "match": {"kinds": ["weather"]}},
        {"name": "r", "colour": "red"},
    ],
)
def test_wrong_rules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rules.model_validate({"rules": [wrong]})


def test_two_rules_do_not_share_a_name() -> None:
    with pytest.raises(ValidationError, match="same name: r"):
        Rules(rules=(Rule(name="r"), Rule(name="r")))
