"""Alerts as lines of the process's log."""

import logging

from pellucid.monitoring.alerts.sinks.contract import Message, about

_log = logging.getLogger("pellucid.alerts")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class LogSink:
    """Writes a line for each alert, at a level that fits its severity; resolutions are INFO."""

    def send(self, message: Message) -> None:
        """Write it."""
        for alert in message.most_urgent_first:
            level = logging.INFO if message.event == "resolved" else _LEVELS[alert.severity]
            name = f"{alert.model}/{alert.version}"
            line = (message.event, alert.severity, name, about(alert), alert.summary, alert.id)
            _log.log(level, "%s %s: %s: %s. %s (alert %s)", *(_one_line(part) for part in line))


def _one_line(text: str) -> str:
    """Names of columns and categories are data, and may not forge lines of a log."""
    return "".join(each if each.isprintable() else " " for each in text)
