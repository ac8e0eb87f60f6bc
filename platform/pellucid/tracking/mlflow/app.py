"""MLflow's own application, with all imported that its handlers import in the midst of requests.

Two first requests at once, one of which imports the registry's store while the other imports
`mlflow.server.auth`, leave SQLAlchemy with mappers that never work again: from then on every
request to the registry is a 500 (seen with MLflow 3.17). Here one thread imports them, before the
server listens. `mlflow server --app-name pellucid` finds this module by its entry point.
"""

from contextlib import suppress

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
from mlflow.server.fastapi_app import app

with suppress(ImportError):  # the extra that it needs is not installed: no request imports it
    import mlflow.server.auth  # noqa: F401

__all__ = ["app"]
