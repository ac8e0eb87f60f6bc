"""Slack's incoming webhooks, which Mattermost, Rocket.Chat and others read as well."""

import json
from typing import Any

import httpx

from pellucid.monitoring.alerts.resources import Alert
from pellucid.monitoring.alerts.sinks.contract import Message, about
from pellucid.monitoring.alerts.sinks.posting import Poster

_MOST_ALERTS = 10  # told one by one
_LONGEST_TITLE, _LONGEST_TEXT = 150, 2500  # Slack takes 150 and 3,000 characters


class SlackSink:
    """Posts a `text`, for receivers that know nothing else, and `blocks`.

    Args:
        url: of the incoming webhook; it is a secret.
        link: address of the service.
        transport: for tests.
    """

    def __init__(
        self, url: str, *, link: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        self._poster = Poster(url, "Slack webhook", transport)
        self._link = link

    def send(self, message: Message) -> None:
        """Post it. Raises as `Poster.post`."""
        shown = message.most_urgent_first[:_MOST_ALERTS]
        header = {"type": "plain_text", "text": _cut(message.title, _LONGEST_TITLE)}
        blocks: list[dict[str, Any]] = [{"type": "header", "text": header}]
        blocks += [_section(self._told(alert)) for alert in shown]
        if len(message.alerts) > len(shown):
            blocks.append(_section(f"and {len(message.alerts) - len(shown)} more"))
        document = {"text": _escaped(message.title), "blocks": blocks}
        self._poster.post(json.dumps(document).encode(), {})

    def _told(self, alert: Alert) -> str:
        what = _cut(_escaped(about(alert)), _LONGEST_TEXT // 4)
        summary = _cut(_escaped(alert.summary), _LONGEST_TEXT // 2)
        where = f"<{self._link}/v1/alerts/{alert.id}|{alert.id}>"
        return f"*{alert.severity}*: {what}\n{summary}\n{where}"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    """As Slack asks for; without it a category's name could mention @channel or hide a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
