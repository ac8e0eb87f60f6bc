"""Registered models over REST."""

from pellucid.client.connection import Connection, given, segment
from pellucid.resources.base import Page
from pellucid.resources.models import ModelStatistics, ModelSummary, ModelVersionDetail
from pellucid.resources.traffic import Comparisons, Traffic

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

    def stats(self, name: str) -> ModelStatistics:
        """What each version has done: requests, errors, rows, latency."""
        return self._connection.fetch(ModelStatistics, "GET", _model(name) + "/stats")

    def promote(self, name: str, version: int | None = None) -> ModelSummary:
        """Make a version, or else the challenger, the champion."""
        body = given(version=version)
        return self._connection.fetch(ModelSummary, "POST", _model(name) + "/promote", json=body)

    def rollback(self, name: str) -> ModelSummary:
        """Make the previous champion the champion again."""
        return self._connection.fetch(ModelSummary, "POST", _model(name) + "/rollback")

    def traffic(self, name: str) -> Traffic:
        """Who answers the requests, and who sees copies of them."""
        return self._connection.fetch(Traffic, "GET", _model(name) + "/traffic")

    def set_traffic(
        self,
        name: str,
        *,
        challenger: tuple[int, float] | None = None,
        shadow: tuple[int, float] | None = None,
    ) -> Traffic:
        """Let versions compete with the champion, in place of all that competed before.

        Args:
            name: of the model.
            challenger: a version, and the share of the requests that it answers, from 0 to 1.
            shadow: a version, and the share of the requests that it sees copies of.
        """
        pairs = given(challenger=challenger, shadow=shadow)
        rules = {role: {"version": v, "share": share} for role, (v, share) in pairs.items()}
        return self._connection.fetch(Traffic, "PUT", _model(name) + "/traffic", json=rules)

    def abort(self, name: str) -> Traffic:
        """End all competition: the champion answers everything."""
        return self._connection.fetch(Traffic, "DELETE", _model(name) + "/traffic")

    def comparison(self, name: str) -> Comparisons:
        """What the competition has shown so far, in the process that answers."""
        return self._connection.fetch(Comparisons, "GET", _model(name) + "/comparison")

    def set_alias(self, name: str, alias: str, version: int) -> ModelSummary:
        """Point an alias at a version."""
        path = f"{_model(name)}/aliases/{segment(alias)}"
        return self._connection.fetch(ModelSummary, "PUT", path, json={"version": version})

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        self._connection.send("DELETE", f"{_model(name)}/aliases/{segment(alias)}")


def _model(name: str) -> str:
    return f"/v1/models/{segment(name)}"
