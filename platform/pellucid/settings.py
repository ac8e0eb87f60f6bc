"""The settings of every process, read once from `PELLUCID_*` and passed down.

A secret may also come from a file: `PELLUCID_API_KEYS_FILE=/run/secrets/keys` reads
`PELLUCID_API_KEYS` from that file, the convention of container secrets.
"""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pellucid.errors import InvalidSettings

PREFIX = "PELLUCID_"
_FROM_FILE = (
    "API_KEYS",
    "DATABASE_URL",
    "MLFLOW_PASSWORD",
    "ALERT_WEBHOOK_URL",
    "ALERT_WEBHOOK_SECRET",
    "ALERT_SLACK_URL",
    "ALERT_SMTP_URL",
)

_PLACEHOLDERS = {"changeme", "secret", "placeholder"}


def named(entry: str) -> tuple[str, str]:
    """The name and the key of an entry of `api_keys`; the name of a key alone is empty."""
    name, _, key = entry.partition(":")
    return (name.strip(), key.strip()) if key.strip() else ("", entry)


class Settings(BaseSettings):
    """All settings, with the defaults of one machine: SQLite, loopback, no keys."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    home: Annotated[
        Path, Field(description="Where everything lives: data sets, jobs, caches, databases.")
    ] = Path(".pellucid")
    database_url: Annotated[
        str, Field(description="SQLAlchemy URL. Empty: SQLite under `home`.")
    ] = ""
    host: Annotated[str, Field(description="Address the API binds to.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port of the API.")] = 8000
    grpc_port: Annotated[
        int,
        Field(ge=0, le=65535, description="Port of the API over gRPC, usually 8001. 0: no gRPC."),
    ] = 0
    api_processes: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Equal processes of the API on its port. 0: one for each core.",
        ),
    ] = 1
    url: Annotated[
        str, Field(description="Where the CLI and client find the API. Empty: host and port.")
    ] = ""
    api_keys: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            description="Comma-separated, each a key or `NAME:KEY`; what a key does is told "
            "with its name. Required unless the API binds to loopback."
        ),
    ] = ()
    mlflow_url: Annotated[
        str, Field(description="The MLflow server. Empty: the one on loopback at `mlflow_port`.")
    ] = ""
    mlflow_port: Annotated[
        int, Field(ge=0, le=65535, description="Port of the MLflow server that `up` starts.")
    ] = 5000
    mlflow_username: Annotated[str, Field(description="MLflow basic-auth user.")] = ""
    mlflow_password: Annotated[str, Field(description="MLflow basic-auth password.")] = ""
    experiment: Annotated[str, Field(description="MLflow experiment of the runs.")] = "pellucid"
    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|(cuda|tensorrt)(:\d+(,\d+)*)?)$",
            description="Serving device: `auto`, `cpu`, `cuda` or `tensorrt`; `cuda:0,1` names "
            "GPUs. A GPU that is asked for and missing is an error.",
        ),
    ] = "auto"
    default_model: Annotated[
        str, Field(description="The model that /invocations means. Empty: the only champion.")
    ] = ""
    max_upload_bytes: Annotated[
        int, Field(gt=0, description="Largest data set upload, in bytes.")
    ] = 64 * 2**30
    max_body_bytes: Annotated[
        int, Field(gt=0, description="Largest body of any other request, in bytes.")
    ] = 64 * 2**20
    max_rows: Annotated[int, Field(gt=0, description="Most rows in one prediction request.")] = (
        100_000
    )
    max_batch_rows: Annotated[
        int, Field(gt=0, description="Most rows that a model runs at once.")
    ] = 1024
    max_queue_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="Longest wait for its turn that a prediction is let in to; "
            "in overload it is far shorter.",
        ),
    ] = 1.0
    max_run_seconds: Annotated[
        float, Field(gt=0, description="A run of a model that takes longer is stopped.")
    ] = 60.0
    model_memory_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="Memory for models, in bytes. 0: half of what this process may use.",
        ),
    ] = 0
    explanation_cache_bytes: Annotated[
        int,
        Field(
            ge=0,
            description="Explanations of rows that a version keeps, to give them again, in bytes.",
        ),
    ] = 16 * 2**20
    explain_early: Annotated[
        bool,
        Field(
            description="Open what explains a version when it is loaded, in the background, and "
            "not when an explanation is first asked for."
        ),
    ] = False
    max_cell_bytes: Annotated[
        int, Field(gt=0, description="Largest text or list in a cell of a data set, in bytes.")
    ] = 2**20
    lease_seconds: Annotated[
        float, Field(gt=0, description="A job whose worker is silent this long is re-queued.")
    ] = 15.0
    max_attempts: Annotated[
        int, Field(ge=1, description="Attempts of a job that keeps crashing.")
    ] = 5
    job_days: Annotated[
        int,
        Field(
            ge=0,
            description="Files of ended scorings and explanations are kept this long. 0: for ever.",
        ),
    ] = 30
    gpus_per_job: Annotated[
        int,
        Field(ge=0, description="Most GPUs that a job trains on, by torchrun. 0: the machine's."),
    ] = 1
    cancel_grace_seconds: Annotated[
        float, Field(ge=0, description="Between SIGTERM and SIGKILL of a cancelled attempt.")
    ] = 3.0
    alias_poll_seconds: Annotated[
        float, Field(gt=0, description="How often the API asks the registry for moved aliases.")
    ] = 2.0
    prediction_log: Annotated[
        bool, Field(description="Record every answered prediction under `home`.")
    ] = True
    prediction_segment_seconds: Annotated[
        float,
        Field(gt=0, description="Recorded predictions become a Parquet file at least this often."),
    ] = 300.0
    prediction_segment_rows: Annotated[
        int, Field(gt=0, description="Most predictions in such a file, about.")
    ] = 1_000_000
    prediction_days: Annotated[
        int, Field(ge=0, description="Recorded predictions are kept this long. 0: for ever.")
    ] = 90
    monitor_seconds: Annotated[
        int,
        Field(
            ge=60,
            description="Length of a monitored window, aligned to 1970-01-01 UTC: 3600 is the "
            "clock's hours.",
        ),
    ] = 3600
    monitor_rows: Annotated[
        int,
        Field(
            ge=0,
            description="A window ends earlier, with the minute by which so many rows of a version "
            "have come. 0: by time alone.",
        ),
    ] = 0
    monitor_lateness_seconds: Annotated[
        int, Field(ge=0, description="A window is judged so long after its end.")
    ] = 300
    monitor_min_rows: Annotated[
        int,
        Field(ge=1, description="A window with fewer rows may alarm, but is no all-clear."),
    ] = 200
    monitor_catch_up: Annotated[
        int,
        Field(
            ge=1,
            description="Most windows that a monitor which was down judges afterwards, by version.",
        ),
    ] = 168
    monitoring_days: Annotated[
        int, Field(ge=0, description="Results of monitoring are kept this long. 0: for ever.")
    ] = 400
    alert_webhook_url: Annotated[
        str, Field(description="Alerts are posted here, as JSON. Empty: they are not.")
    ] = ""
    alert_webhook_secret: Annotated[
        str,
        Field(description="Signs what is posted (Standard Webhooks): `whsec_...`, or any text."),
    ] = ""
    alert_slack_url: Annotated[
        str, Field(description="Incoming webhook of Slack, Mattermost or another that reads it.")
    ] = ""
    alert_smtp_url: Annotated[
        str,
        Field(description="Mails alerts: `smtp://user:password@host:587`, or `smtps://`."),
    ] = ""
    alert_email_to: Annotated[str, Field(description="Comma-separated addresses of mails.")] = ""
    alert_email_from: Annotated[str, Field(description="Sender of mails.")] = "pellucid@localhost"
    request_timeout: Annotated[
        float,
        Field(gt=0, description="Seconds for a request to arrive; a body may take 1 s per KiB."),
    ] = 60.0
    log_format: Annotated[
        Literal["text", "json"], Field(description="Log lines for people or for machines.")
    ] = "text"
    access_log: Annotated[bool, Field(description="Log a line for every request.")] = True

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.replace("\n", ",").split(",") if key.strip())
        return value

    @field_validator("alert_webhook_url", "alert_slack_url", "alert_smtp_url")
    @classmethod
    def _check_url(cls, value: str, info: ValidationInfo) -> str:
        """Its value may hold a secret, and is in no error."""
        schemes = ("smtp", "smtps") if info.field_name == "alert_smtp_url" else ("http", "https")
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if value and not usable:
            raise ValueError(f"it is no address that begins with {' or '.join(schemes)}://")
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def _refuse_open_doors(self) -> Self:
        if any(named(each)[1].lower() in _PLACEHOLDERS for each in self.api_keys):
            raise ValueError("api_keys holds a placeholder; generate one: openssl rand -hex 32")
        if self.alert_webhook_secret.lower() in _PLACEHOLDERS | {"whsec_"}:  # and nothing behind it
            raise ValueError(
                "alert_webhook_secret is a placeholder; generate one: openssl rand -hex 32"
            )
        if self.monitor_rows and self.monitor_seconds % 60:
            raise ValueError("monitor_seconds has to be whole minutes where monitor_rows is set")
        if self.alert_smtp_url and not self.alert_email_to.strip(", "):
            raise ValueError("alert_smtp_url needs alert_email_to: comma-separated addresses")
        return self

    @classmethod
    def load(cls) -> Self:
        """The settings of this process's environment.

        Raises:
            InvalidSettings: a value is wrong, or a `_FILE` cannot be read.
        """
        given = {}
        for name in _FROM_FILE:
            path = os.environ.get(f"{PREFIX}{name}_FILE")
            if path:
                try:
                    given[name.lower()] = Path(path).read_text(encoding="utf-8").strip()
                except OSError as error:
                    raise InvalidSettings(
                        f"{PREFIX}{name}_FILE cannot be read: {error}.", where={"file": path}
                    ) from error
        try:
            return cls(**given)  # type: ignore[arg-type]  # validated by pydantic
        except ValidationError as error:
            first = error.errors()[0]
            key = "".join(str(part) for part in first["loc"]) or "settings"
            raise InvalidSettings(
                f"{PREFIX}{key.upper()}: {first['msg']}.", where={"setting": key}
            ) from error

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these same settings."""
        values = self.model_dump(mode="json") | {"api_keys": ",".join(self.api_keys)}
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}

    def require_keys_beyond_loopback(self) -> None:
        """Refuse to serve a public address without API keys.

        Raises:
            InvalidSettings: `host` is not loopback and `api_keys` is empty.
        """
        if not self.api_keys and not _is_loopback(self.host):
            raise InvalidSettings(
                f"Binding to {self.host} without API keys would let anyone in.",
                where={"setting": "api_keys"},
                remedy="Set PELLUCID_API_KEYS (or PELLUCID_API_KEYS_FILE), or bind to 127.0.0.1.",
            )

    @property
    def resolved_database_url(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite:///{self.home / 'pellucid.db'}"

    @property
    def resolved_mlflow_url(self) -> str:
        """The MLflow server in use."""
        return self.mlflow_url or f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def api_key(self) -> str | None:
        """What the CLI and the demo send."""
        return named(self.api_keys[0])[1] if self.api_keys else None

    @property
    def resolved_url(self) -> str:
        """The API's own address, as a client reaches it."""
        return self.url or f"http://127.0.0.1:{self.port}"


def reference() -> str:
    """Every setting, its default and its meaning, as a page of Markdown."""
    lines = ["# Settings", "", "Generated by `pellucid settings --markdown`.", ""]
    lines += ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default if isinstance(field.default, int | float) else str(field.default)
        shown = f"`{default}`" if field.default not in ("", ()) else ""
        lines.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    files = ", ".join(f"`{PREFIX}{name}_FILE`" for name in _FROM_FILE)
    lines += ["", f"Secrets may be read from a file instead: {files}."]
    return "\n".join(lines)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
