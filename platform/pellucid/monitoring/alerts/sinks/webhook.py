"""A webhook, signed as in the specification Standard Webhooks 1.0.0 (standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import httpx

from pellucid.monitoring.alerts.sinks.contract import Message
from pellucid.monitoring.alerts.sinks.posting import Poster

_PREFIX = "whsec_"


class WebhookSink:
    """Posts `{"type": "alerts.firing", "timestamp": ..., "data": {"alerts": [...]}}`.

    With a secret the request carries `webhook-signature`: "v1," and the base64 of the HMAC-SHA256
    over id, timestamp and body, with dots between. `webhook-id` is the message's for ever.

    Args:
        url: where to.
        secret: `whsec_` and base64, or any text; empty: nothing is signed.
        link: address of the service; alerts are under it.
        transport: for tests.
        clock: seconds since 1970-01-01 UTC; receivers refuse what was signed long ago.
    """

    def __init__(
        self,
        url: str,
        secret: str = "",
        *,
        link: str = "",
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._poster = Poster(url, "webhook", transport)
        self._key = key_of(secret)
        self._link = link
        self._clock = clock

    def send(self, message: Message) -> None:
        """Post it. Raises as `Poster.post`."""
        alerts = [
            {**alert.model_dump(mode="json"), "url": f"{self._link}/v1/alerts/{alert.id}"}
            for alert in message.most_urgent_first
        ]
        document = {
            "type": f"alerts.{message.event}",
            "timestamp": message.time.isoformat(),
            "data": {"severity": message.severity, "title": message.title, "alerts": alerts},
        }
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        stamp = str(int(self._clock()))
        headers = {"webhook-id": message.id, "webhook-timestamp": stamp}
        if self._key:
            headers["webhook-signature"] = signature(self._key, message.id, stamp, body)
        self._poster.post(body, headers)


def key_of(secret: str) -> bytes:
    """The key that a secret stands for."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass  # a text that only begins so
    return secret.encode()


def signature(key: bytes, identity: str, stamp: str, body: bytes) -> str:
    """The value of the header `webhook-signature`."""
    signed = b".".join((identity.encode(), stamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
