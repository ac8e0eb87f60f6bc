"""Where alerts are told: the log, a signed webhook, Slack and its kin, e-mail."""

from typing import TYPE_CHECKING

from pellucid.monitoring.alerts.sinks.contract import Message, Sink
from pellucid.monitoring.alerts.sinks.log import LogSink

if TYPE_CHECKING:
    from pellucid.settings import Settings

__all__ = ["Message", "Sink", "configured"]


def configured(settings: "Settings") -> dict[str, Sink]:
    """The sinks that the settings name; the log is always one."""
    from pellucid.monitoring.alerts.sinks.email import EmailSink
    from pellucid.monitoring.alerts.sinks.slack import SlackSink
    from pellucid.monitoring.alerts.sinks.webhook import WebhookSink

    link = settings.resolved_url
    found: dict[str, Sink] = {"log": LogSink()}
    if settings.alert_webhook_url:
        found["webhook"] = WebhookSink(
            settings.alert_webhook_url, settings.alert_webhook_secret, link=link
        )
    if settings.alert_slack_url:
        found["slack"] = SlackSink(settings.alert_slack_url, link=link)
    if settings.alert_smtp_url:
        to = [each.strip() for each in settings.alert_email_to.split(",") if each.strip()]
        found["email"] = EmailSink(
            settings.alert_smtp_url, to, settings.alert_email_from, link=link
        )
    return found
