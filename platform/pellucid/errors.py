"""Every error a user can meet, free of any transport.

    PellucidError
    ├── InvalidInput              the request or file is wrong; nothing was changed
    │   ├── InvalidData           a data set's content: file, row, column, remedy
    │   ├── InvalidPlan           a plan: path of the key, allowed values
    │   ├── InvalidRows           rows sent for prediction
    │   └── InvalidSettings       the process's own configuration
    ├── TooLarge                  over a limit that the message names
    ├── UnsupportedType           a media type that is not read here
    ├── Unauthorized              no valid API key
    ├── NotFound                  no such data set, job, model or version
    ├── Conflict                  the state does not allow it
    │   └── IdempotencyConflict   the same Idempotency-Key with another body
    ├── LeaseLost                 another worker holds the job now (fencing)
    ├── StorageFull               no space left; nothing half-written remains
    ├── Unavailable               something we depend on does not answer; try again
    │   ├── TrackerUnavailable    MLflow
    │   ├── DatabaseUnavailable
    │   ├── ModelNotReady         the model exists but is not loaded
    │   └── Overloaded            more is waiting than can be answered in time
    ├── DeadlineExceeded          the request's own time was over before it was answered
    ├── DeviceUnavailable         asked for CUDA and did not get it
    └── TrainingFailed            training cannot go on, and trying again will not help

`pellucid_api.problems` maps each to an HTTP status; the CLI prints them as they are.
"""

from collections.abc import Mapping
from typing import Any


class PellucidError(Exception):
    """An error with a place and a remedy.

    Args:
        message: what is wrong, in one sentence, with the bad value.
        where: where it is: keys such as `file`, `row` (1-based, header not counted), `column`,
            `path`, `model`.
        remedy: what to do next.
    """

    code = "error"

    def __init__(
        self, message: str, *, where: Mapping[str, Any] | None = None, remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = dict(where or {})
        self.remedy = remedy

    def as_dict(self) -> dict[str, Any]:
        """The error as plain data: code, message, where, remedy."""
        return {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        place = ", ".join(f"{key} {value}" for key, value in self.where.items())
        text = f"{self.message} ({place})" if place else self.message
        return f"{text} {self.remedy}" if self.remedy else text


class InvalidInput(PellucidError):
    """The request or file is wrong; nothing was changed."""

    code = "invalid_input"


class InvalidData(InvalidInput):
    """A data set's content cannot be taken."""

    code = "invalid_data"


class InvalidPlan(InvalidInput):
    """A plan names unknown keys, columns or values; `where["path"]` is the key's path."""

    code = "invalid_plan"


class InvalidRows(InvalidInput):
    """Rows sent for prediction do not fit the model's inputs."""

    code = "invalid_rows"


class InvalidSettings(InvalidInput):
    """The process's configuration is wrong; it refuses to start."""

    code = "invalid_settings"


class TooLarge(PellucidError):
    """Over a limit; the message names the limit."""

    code = "too_large"


class UnsupportedType(PellucidError):
    """The body is of a media type that is not read here."""

    code = "unsupported_media_type"


class Unauthorized(PellucidError):
    """No valid API key came with the request."""

    code = "unauthorized"


class NotFound(PellucidError):
    """No such data set, job, model or version."""

    code = "not_found"


class Conflict(PellucidError):
    """The state of the thing does not allow the request."""

    code = "conflict"


class IdempotencyConflict(Conflict):
    """The Idempotency-Key was used before, with another body."""

    code = "idempotency_conflict"


class LeaseLost(PellucidError):
    """The attempt's fencing token is no longer the job's: another worker holds the job."""

    code = "lease_lost"


class StorageFull(PellucidError):
    """No space left on the device; nothing half-written remains."""

    code = "storage_full"


class Unavailable(PellucidError):
    """Something we depend on does not answer; the same request may succeed later."""

    code = "unavailable"


class TrackerUnavailable(Unavailable):
    """The MLflow server does not answer."""

    code = "tracker_unavailable"


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database_unavailable"


class ModelNotReady(Unavailable):
    """The model exists, but no version of it is loaded yet."""

    code = "model_not_ready"


class Overloaded(Unavailable):
    """More is waiting than can be answered in time; nothing was run."""

    code = "overloaded"


class DeadlineExceeded(PellucidError):
    """The request's own time limit passed before it was run."""

    code = "deadline_exceeded"


class DeviceUnavailable(PellucidError):
    """CUDA was asked for and is not there."""

    code = "device_unavailable"


class TrainingFailed(PellucidError):
    """Training cannot go on, and another attempt would end the same way."""

    code = "training_failed"
