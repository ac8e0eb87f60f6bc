"""The report: one file, readable, escaped, and looked at in a real browser where there is one."""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from datetime import timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.analysis.watching.binning import bins_of_numbers
from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import Bins
from pellucid.analysis.watching.signals import Status
from pellucid.monitoring.checks import figures
from pellucid.monitoring.checks.verdicts import overall, verdict
from pellucid.monitoring.report import render
from pellucid.monitoring.report.tables import accepted, apart
from pellucid.monitoring.report.words import name, number, share
from pellucid.monitoring.watch.resources import Figures, WindowResult, WindowSummary
from support.monitored import HOSTILE, HOUR, START, profile, result, signal

EAST = timezone(timedelta(hours=8))
_VOID = {"meta", "link", "br", "img", "hr", "input", "wbr"}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Checks that elements are nested, and keeps what matters to a reader of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(each == tag for each, _ in self.seen)


def history(many: int) -> list[WindowSummary]:
    newest = result()
    return [
        newest.model_copy(update={"start": START - n * HOUR, "end": START - (n - 1) * HOUR})
        for n in range(many)
    ]


def bias_figures() -> dict[str, object]:
    common = {"column": "sex", "outcome": "1", "unknown": 3, "highest": "male"}
    rates = {"rate_low": 0.1, "rate_high": 0.3, "impact_low": 0.5, "impact_high": 0.9}
    return {
        "impact": [
            common | rates | {"category": HOSTILE, "rows": 90, "selected": 18, "rate": 0.2,
                              "impact": 0.7, "status": "unclear"},
            common | rates | {"category": "male", "rows": 99, "selected": 28, "rate": 0.28,
                              "impact": 1.0, "status": "absent"},
        ]
    }  # fmt: skip


def labelled() -> dict[str, object]:
    return {
        "predictions": 2000, "labelled": 500, "unusable": 2, "delay_median": 7200.0,
        "delay_p90": 200_000.0, "method": "cbpe", "estimated_on": 2000, "effective_rows": 812.3,
        "overlap": 0.93,
    }  # fmt: skip


def whole() -> WindowResult:
    found = result()
    more = {"bias": bias_figures(), "performance": labelled(), "run_id": "abc"}
    return found.model_copy(update={"figures": found.figures.model_copy(update=more)})


def test_it_says_what_when_and_how_much() -> None:
    text = render(whole(), history(20), run_url="http://mlflow/#/runs/abc")
    for said in (
        "The measured performance fell (roc_auc)",
        "credit version 3",
        "Since 21 Nov 2026, 15:00 UTC.",
        "only labels show that",
        "500 of 2,000 predictions (25.0%)",
        "within 2 hours",
        "count as 812. 93.0% of the window&#39;s rows are like held-out rows.",
        "Impact ratios by sex",
        "3 rows whose sex is not known",
        "http://mlflow/#/runs/abc",
    ):
        assert said in text, said


def test_it_is_one_well_formed_accessible_file() -> None:
    page = Page(render(whole(), history(20)))
    assert not page.count("script")
    assert not page.count("link")
    assert not page.count("img")
    assert page.count("h1") == 1
    assert page.count("caption") == page.count("table") > 3
    charts = [attributes for tag, attributes in page.seen if tag == "svg"]
    assert len(charts) > 3
    assert all(each["role"] == "img" and each["aria-label"] for each in charts)
    for tag, attributes in page.seen:
        assert not any(name.startswith("on") for name in attributes), tag
        if tag == "th":
            assert attributes["scope"] in ("row", "col")


@settings(max_examples=25)
@given(st.text(min_size=1, max_size=40))
def test_no_name_gets_out_of_its_place(name: str) -> None:
    """Whatever columns, categories and models are called."""
    wild = f"{name}{HOSTILE}\"'>&"
    signals = [
        signal("drift", wild, Status.ALARM, summary=wild, since=START),
        signal("bias", wild, Status.ALARM, summary=wild, current=0.5, low=0.4, high=0.6),
        signal("performance", wild, summary=wild, current=0.5, low=0.4, high=0.6),
        signal("traffic", wild, Status.ABSENT, summary=wild),
    ]
    found = result(model=wild, signals=signals, verdict=verdict(signals, 3))
    text = render(found, history(3))
    assert "<script" not in text
    Page(text)


def test_an_empty_window_is_a_page_too() -> None:
    signals = [signal("traffic", "rows", Status.ABSENT, summary="No predictions came.")]
    found = result(
        rows=0, signals=signals, figures=Figures(), status=overall(signals), alarms=0,
        verdict=verdict(signals, 0),
    )  # fmt: skip
    text = render(found)
    Page(text)
    assert "Nothing can be told: no predictions came." in text
    assert "What needs a look" not in text


def test_charts_are_xml_with_their_text_inside() -> None:
    text = render(whole(), history(40))
    starts = [at for at in range(len(text)) if text.startswith("<svg", at)]
    for start in starts:
        drawing = ET.fromstring(text[start : text.index("</svg>", start) + 6])
        _, _, width, height = map(float, drawing.attrib["viewBox"].split())
        for each in drawing.iter("rect"):
            assert float(each.attrib["x"]) + float(each.attrib["width"]) <= width + 0.1
            assert float(each.attrib["y"]) + float(each.attrib["height"]) <= height + 0.1


def test_disparities_have_one_scale_and_say_what_is_accepted() -> None:
    """A ratio of 1 and a difference of 0 are both equality, and are drawn at the same place."""
    given = {"current": 0.7, "low": 0.6, "high": 0.9}
    ratio = signal("bias", "demographic_parity by sex", statistic="ratio", threshold=0.2, **given)
    gap = signal("bias", "calibration by sex", statistic="difference", threshold=0.1, **given)
    assert (accepted(ratio), accepted(gap)) == ("at least 0.8", "at most 0.1")
    (drawn,), (same,) = apart(ratio), apart(gap)
    assert (drawn.value, drawn.low, drawn.high) == pytest.approx((0.3, 0.1, 0.4))
    assert (same.value, same.low, same.high) == (0.7, 0.6, 0.9)
    assert drawn.label == "demographic parity by sex"
    assert apart(signal("bias", "calibration by sex", Status.ABSENT)) == []


def test_long_names_break_behind_their_parts() -> None:
    assert name("years_<b>.x") == "years_<wbr>&lt;b&gt;.<wbr>x"


def test_densities_are_shares() -> None:
    bins = profile(0.0, 10, 0).bins["amount"]
    counts = np.arange(len(bins), dtype=float)
    shares = figures.density(bins, counts, np.linspace(1_000, 9_000, 33))
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert min(shares) >= 0


def test_few_whole_numbers_are_bars_and_constants_are_not_drawn() -> None:
    before, now = profile(0.0, 500, 0), profile(0.0, 500, 1)
    signals = [signal("drift", name) for name in before.bins]
    drawn = figures.columns(before, now, signals, {})
    assert {each.column for each in drawn} == set(before.bins) - {"constant"}
    booleans = Bins("number", np.array([0.0]), 0.0, 1.0)
    counted = now.tallies["constant"].__class__(np.array([30, 70]))
    one = now.__class__({"flag": booleans}, {"flag": counted}, 100)
    (flag,) = figures.columns(one, one, [signal("drift", "flag")], {})
    assert flag.distribution.labels == ["0", "1"]
    assert flag.distribution.window == [0.3, 0.7]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (0.12345, "0.1235"), (12345.6, "12,346"), (1e-6, "1.0e-06")],
)
def test_numbers_have_four_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_shares_are_per_cent() -> None:
    assert [share(each) for each in (0.0, 0.0001, 0.123, 1.0)] == ["0%", "<0.1%", "12.3%", "100%"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_overflow(width: int, tmp_path: Path) -> None:
    """The page measures itself by a script that only this test adds."""
    measuring = (
        "<script>addEventListener('load', () => {"
        "const wide = [...document.querySelectorAll('body *')].filter(e =>"
        " e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('thead'));"
        "document.title = 'width ' + document.documentElement.scrollWidth + ' of ' + innerWidth"
        " + ' wide ' + wide.length; })</script></body>"
    )
    page = tmp_path / "report.html"
    framed = f'<!doctype html><iframe src="inner.html" width="{width}" height="4000"></iframe>'
    inner = tmp_path / "inner.html"
    inner.write_text(render(whole(), history(48)).replace("</body>", measuring), encoding="utf-8")
    told = "<script>addEventListener('load', () => setTimeout(() => {document.title ="
    told += " document.querySelector('iframe').contentDocument.title}, 300))</script>"
    page.write_text(framed + told, encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--allow-file-access-from-files",
            "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000",
            "--window-size=1400,4200", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert f"<title>width {width} of {width} wide 0</title>" in done.stdout, done.stdout[:300]


def test_times_in_headlines_are_utc() -> None:
    shifted = result(start=START.astimezone(EAST), end=(START + HOUR).astimezone(EAST))
    assert shifted.id == "3-2026-11-21T18:00:00Z-3600"


@pytest.mark.parametrize("unit", [1e308, 1e-310])
def test_numbers_that_no_axis_has_are_not_drawn(unit):
    values = unit * np.random.default_rng(0).normal(size=500).clip(-1.5, 1.5)
    bins = {"amount": bins_of_numbers(values)}
    before, now = (count({"amount": each}, bins) for each in (values, np.abs(values)))
    drawn = figures.columns(before, now, [signal("drift", "amount")], {})
    numbers = [n for each in drawn for n in (*each.distribution.at, *each.distribution.window)]
    assert np.isfinite(numbers).all()
