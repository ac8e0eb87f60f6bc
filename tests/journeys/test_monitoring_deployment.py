"""The files of the compose profile `monitoring`: well formed, and about metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pellucid_api.metrics_page import reference
from support.compose import load

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deploy" / "monitoring"
_NAME = re.compile(r"\bpellucid_[a-z0-9_]+")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((FILES / "rules.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    document = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    found = [rule["expr"] for rule in rules()]
    found += [target["expr"] for panel in panels() for target in panel["targets"]]
    document = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
    return found + [each["query"]["query"] for each in document["templating"]["list"]]


@pytest.fixture(scope="module")
def metrics() -> dict[str, set[str]]:
    """Every metric of ours, with its labels."""
    lines = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    return {name.strip("| `"): set(re.findall(r"`(\w+)`", labels)) for name, _, labels, *_ in lines}


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_is_ours_with_its_labels(
    expression: str, metrics: dict[str, set[str]]
) -> None:
    names = _NAME.findall(expression)
    assert names
    labels: set[str] = {"le"}
    for name in names:
        known = name if name in metrics else _SUFFIX.sub("", name)
        assert known in metrics, name
        labels |= metrics[known]
    for selected in re.findall(r"\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*=~?", selected)) <= labels
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        assert {each.strip() for each in grouped.split(",")} <= labels
    assert expression.count("(") == expression.count(")")


def test_alert_rules_say_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_dashboard_is_whole() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in found:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {
            "pellucid-prometheus"
        }
    taken = [
        (x, y)
        for each in found
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)), "panels lie over each other"


def test_the_services_find_their_files_and_each_other() -> None:
    document = load(ROOT / "docker-compose.yml", {}, {"cpu", "monitoring"})
    services = document["services"]
    assert {"prometheus", "grafana"} <= set(services)
    for name in ("prometheus", "grafana"):
        for each in services[name]["configs"]:
            assert (ROOT / document["configs"][each["source"]]["file"]).is_file()
    scrapes = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))
    (target,) = scrapes["scrape_configs"][0]["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert services[host]["environment"]["PELLUCID_PORT"] == port
    (source,) = yaml.safe_load((FILES / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((FILES / "dashboards.yml").read_text())["providers"]
    targets = [each["target"] for each in services["grafana"]["configs"]]
    assert any(each.startswith(provider["options"]["path"]) for each in targets)
