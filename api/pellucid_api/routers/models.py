"""Registered models: versions, cards, aliases."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse

from pellucid.bundle import CARD, Bundle
from pellucid.errors import NotFound
from pellucid.resources.base import Page
from pellucid.resources.models import ModelSummary, ModelVersionDetail
from pellucid.tracking import promotion
from pellucid.tracking.contract import CHAMPION, RegisteredModel
from pellucid_api.deps import Held, ModelName, VersionNumber
from pellucid_api.services import Services

AliasName = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$",
        description="champion is what is served; challenger competes with it.",
        examples=["champion"],
    ),
]


class VersionChoice(BaseModel):
    """A version of the model in the path."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, examples=[2])


class Promotion(BaseModel):
    """The version that becomes the champion."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(
        default=None, ge=1, examples=[2], description="Default: the challenger."
    )


class CardResponse(PlainTextResponse):
    """Markdown."""

    media_type = "text/markdown"


def list_models(services: Held) -> Page[ModelSummary]:
    """List the registered models."""
    return Page(items=[_summary(services, model) for model in services.registry.models()])


def show(services: Held, name: ModelName) -> ModelSummary:
    """Show a model: its aliases, and its versions loaded here."""
    return _summary(services, services.registry.model(name))


def show_version(services: Held, name: ModelName, version: VersionNumber) -> ModelVersionDetail:
    """Show a version: what it takes and gives, its test metrics, where it came from."""
    found = services.registry.version(name, version)
    manifest = _bundle(services, name, version).manifest
    return ModelVersionDetail(
        name=name,
        version=version,
        run_id=found.run_id,
        created=found.created,
        aliases=list(found.aliases),
        tags=dict(found.tags),
        inputs=[each.model_dump(mode="json") for each in manifest.inputs],
        outputs=[each.model_dump(mode="json") for each in manifest.outputs],
        classes=list(manifest.classes),
        metrics=manifest.metrics,
        data_version=manifest.data_version,
        job_id=manifest.job_id,
    )


def card(
    services: Held,
    name: ModelName,
    version: Annotated[int | None, Query(ge=1, description="Default: the champion.")] = None,
) -> CardResponse:
    """Read the model card, in Markdown."""
    if version is None:
        model = services.registry.model(name)
        version = model.aliases.get(CHAMPION, model.latest)
        if version is None:
            raise NotFound(f"The model {name!r} has no version yet.", where={"model": name})
    bundle = _bundle(services, name, version)
    if not (bundle.root / CARD).is_file():
        raise NotFound(
            f"Version {version} of {name!r} has no model card: it was made elsewhere.",
            where={"model": name, "version": version},
        )
    return CardResponse(bundle.card)


def set_alias(
    services: Held, name: ModelName, alias: AliasName, body: VersionChoice
) -> ModelSummary:
    """Point an alias at a version."""
    if alias == CHAMPION:
        promotion.promote(services.registry, name, body.version)
    else:
        services.registry.set_alias(name, alias, body.version)
    return show(services, name)


def delete_alias(services: Held, name: ModelName, alias: AliasName) -> None:
    """Remove an alias; without `champion` a model is no longer served."""
    services.registry.delete_alias(name, alias)


def promote(services: Held, name: ModelName, body: Promotion) -> ModelSummary:
    """Make a version the champion; it serves within seconds, and competes no longer."""
    version = body.version or promotion.challenger(services.registry, name)
    promotion.promote(services.registry, name, version)
    return show(services, name)


def rollback(services: Held, name: ModelName) -> ModelSummary:
    """Make the previous champion the champion again."""
    promotion.rollback(services.registry, name)
    return show(services, name)


def _bundle(services: Services, name: str, version: int) -> Bundle:
    return services.pool.bundle(name, version)


def _summary(services: Services, model: RegisteredModel) -> ModelSummary:
    return ModelSummary(
        name=model.name,
        aliases=dict(model.aliases),
        latest=model.latest,
        serving=services.pool.loaded(model.name),
    )
