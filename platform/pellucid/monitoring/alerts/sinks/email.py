"""E-mail, by a server that takes it by SMTP."""

import logging
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from urllib.parse import unquote, urlsplit

from pellucid.errors import Conflict, Unavailable
from pellucid.monitoring.alerts.resources import Alert
from pellucid.monitoring.alerts.sinks.contract import Message, about

_log = logging.getLogger(__name__)
_TIMEOUT = 15.0  # seconds, for each step
_MOST_ALERTS = 100  # told one by one
_HOMES = {"localhost", "127.0.0.1", "::1"}


class EmailSink:
    """Sends one e-mail a message, as plain text and as HTML.

    The connection becomes encrypted wherever the server offers it (STARTTLS), and its certificate
    is verified. A password is never sent in clear text, but to this very machine.

    Args:
        url: smtp://user:password@host:587, or smtps:// for TLS from the start.
        to: addresses.
        sender: an address.
        link: address of the service.
        context: of TLS; by default certificates are verified as the system says.
    """

    def __init__(
        self,
        url: str,
        to: Sequence[str],
        sender: str,
        *,
        link: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._encrypted = parts.scheme == "smtps"
        self._host = parts.hostname or ""
        self._port = parts.port or (465 if self._encrypted else 587)
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._to, self._sender, self._link = list(to), sender, link
        self._context = context

    def send(self, message: Message) -> None:
        """Send it.

        Raises:
            Unavailable: the server does not answer, or is busy.
            Conflict: it refuses the user, the addresses or the message, or offers no encryption.
        """
        mail = self._mail(message)
        try:
            refused = self._sent(mail)
        except smtplib.SMTPResponseException as error:
            told = f"The mail server answered {error.smtp_code}."
            if 400 <= error.smtp_code < 500:
                raise Unavailable(told) from error
            raise Conflict(told, remedy="Check the user, the password and the sender.") from error
        except smtplib.SMTPRecipientsRefused as error:
            raise Conflict("The mail server refused every address.") from error
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable(f"The mail server does not answer: {error}.") from error
        if refused:  # the others have it: to send it again would tell them twice
            _log.warning("The mail server refused %s.", ", ".join(sorted(refused)))

    def _sent(self, mail: EmailMessage) -> Mapping[str, object]:
        """The addresses that were refused, while others were not."""
        server = self._connected()
        try:
            return server.send_message(mail)
        finally:
            with suppress(OSError, smtplib.SMTPException):  # how it says goodbye does not matter
                server.quit()
            server.close()

    def _connected(self) -> smtplib.SMTP:
        context = self._context or ssl.create_default_context()
        if self._encrypted:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=_TIMEOUT, context=context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT)
        try:
            self._secure(server, context)
        except BaseException:
            server.close()
            raise
        return server

    def _secure(self, server: smtplib.SMTP, context: ssl.SSLContext) -> None:
        server.ehlo()
        safe = self._encrypted
        if not safe and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
            safe = True
        if self._user:
            if not safe and self._host not in _HOMES:
                raise Conflict(
                    "The mail server offers no encryption, and so gets no password.",
                    remedy="Use smtps://, or a server with STARTTLS.",
                )
            server.login(self._user, self._password)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = _one_line(f"[Pellucid] {message.title}")[:200]
        mail["From"], mail["To"] = self._sender, ", ".join(self._to)
        mail["Date"] = format_datetime(message.time)
        mail["Message-ID"] = f"<{message.id}@pellucid.invalid>"
        mail["Auto-Submitted"] = "auto-generated"
        shown = message.most_urgent_first[:_MOST_ALERTS]
        more = len(message.alerts) - len(shown)
        mail.set_content(_text(message, shown, more, self._link))
        mail.add_alternative(_html(message, shown, more, self._link), subtype="html")
        return mail


def _text(message: Message, shown: Sequence[Alert], more: int, link: str) -> str:
    lines = [message.title, ""]
    for alert in shown:
        lines += [f"{alert.severity}: {about(alert)}", f"  {alert.summary}"]
        lines += [f"  first seen {alert.first_seen:%Y-%m-%d %H:%M} UTC"]
        lines += [f"  {link}/v1/alerts/{alert.id}", ""]
    if more:
        lines.append(f"and {more} more: {link}/v1/alerts?state=firing")
    return "\n".join(lines)


def _html(message: Message, shown: Sequence[Alert], more: int, link: str) -> str:
    rows = "".join(
        f"<tr><td>{alert.severity}</td><td>{escape(about(alert))}</td>"
        f"<td>{escape(alert.summary)}</td><td>{alert.first_seen:%Y-%m-%d %H:%M} UTC</td>"
        f'<td><a href="{escape(link)}/v1/alerts/{escape(alert.id)}">{escape(alert.id)}</a></td>'
        "</tr>"
        for alert in shown
    )
    rest = f"<p>and {more} more</p>" if more else ""
    head = (
        "<tr><th>Severity</th><th>What</th><th>Summary</th><th>First seen</th><th>Alert</th></tr>"
    )
    return (
        f"<html><body><h3>{escape(message.title)}</h3>"
        f'<table cellpadding="6" border="1" style="border-collapse:collapse">{head}{rows}</table>'
        f"{rest}</body></html>"
    )


def _one_line(text: str) -> str:
    """No header may hold a line's end."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
