"""The OpenAPI document, with the schemas of bodies that are read by hand."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pellucid_api.problems import Problem
from pellucid_api.routers.jobs import PLAN_SCHEMAS
from pellucid_api.routers.oip import REQUEST_SCHEMAS


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        components = found.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for schema in (Problem.model_json_schema(), PLAN_SCHEMAS, REQUEST_SCHEMAS):
            schemas |= schema.get("$defs", {})
            schemas[schema["title"]] = {k: v for k, v in schema.items() if k != "$defs"}
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        found["security"] = [{"bearer": []}, {"header": []}, {}]
        app.openapi_schema = found
    return app.openapi_schema
