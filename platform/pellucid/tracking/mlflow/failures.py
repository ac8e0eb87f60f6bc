"""MLflow's exceptions, as errors of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from requests import RequestException

from pellucid.errors import Conflict, InvalidInput, NotFound, PellucidError, TrackerUnavailable

_EXISTS = "RESOURCE_ALREADY_EXISTS"  # sent with status 400
_REFUSED = (401, 403)  # credentials or allowed hosts: once somebody acts, the same call works
_BUSY = (408, 425, 429)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors for MLflow's; also a decorator.

    Raises:
        TrackerUnavailable: no answer in time, a 5xx, or access refused.
        NotFound: MLflow knows no such thing.
        Conflict: it exists already.
        InvalidInput: MLflow refused the request itself.
    """
    try:
        yield
    except MlflowException as error:
        if error.error_code == _EXISTS:
            raise Conflict(f"MLflow: {error}") from error
        raise _translate(error.get_http_status_code(), str(error)) from error
    except RequestException as error:
        status = error.response.status_code if error.response is not None else 503
        raise _translate(status, str(error)) from error


def _translate(status: int, message: str) -> PellucidError:
    if status == 404:
        model = "Registered Model" in message
        return NotFound(
            f"MLflow: {message}",
            remedy="Look: pellucid models list, or GET /v1/models." if model else "",
        )
    if status in _REFUSED:
        return TrackerUnavailable(
            f"MLflow refuses access: {message}.",
            remedy="Check PELLUCID_MLFLOW_USERNAME and _PASSWORD, and the server's allowed hosts.",
        )
    if status >= 500 or status in _BUSY:
        return TrackerUnavailable(
            f"The MLflow server does not answer: {message}.", remedy="Check PELLUCID_MLFLOW_URL."
        )
    return InvalidInput(f"MLflow refused the request: {message}")
