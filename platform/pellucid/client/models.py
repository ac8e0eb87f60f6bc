"""Registered models over REST."""

from pellucid.client.connection import Connection, given, segment
from pellucid.resources import ModelSummary, ModelVersionDetail, Page

Summaries = list[ModelSummary]


class Models:
    """Registered models."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Summaries:
        """Every model, by name."""
        return self._connection.fetch(Page[ModelSummary], "GET", "/v1/models").items

    def get(self, name: str) -> ModelSummary:
        """A model: its aliases and its newest version."""
        return self._connection.fetch(ModelSummary, "GET", _model(name))

    def version(self, name: str, version: int) -> ModelVersionDetail:
        """A version: what it takes and gives, its metrics, where it came from."""
        return self._connection.fetch(
            ModelVersionDetail, "GET", f"{_model(name)}/versions/{version}"
        )

    def card(self, name: str, version: int | None = None) -> str:
        """The model card, in Markdown."""
        return self._connection.send(
            "GET", _model(name) + "/card", params=given(version=version)
        ).text

    def promote(self, name: str, version: int) -> ModelSummary:
        """Make a version the champion."""
        body = {"version": version}
        return self._connection.fetch(ModelSummary, "POST", _model(name) + "/promote", json=body)

    def rollback(self, name: str) -> ModelSummary:
        """Make the previous champion the champion again."""
        return self._connection.fetch(ModelSummary, "POST", _model(name) + "/rollback")

    def set_alias(self, name: str, alias: str, version: int) -> ModelSummary:
        """Point an alias at a version."""
        path = f"{_model(name)}/aliases/{segment(alias)}"
        return self._connection.fetch(ModelSummary, "PUT", path, json={"version": version})

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        self._connection.send("DELETE", f"{_model(name)}/aliases/{segment(alias)}")


def _model(name: str) -> str:
    return f"/v1/models/{segment(name)}"
