"""The model registry of an MLflow server."""

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities import Metric as MlflowMetric

from pellucid.bundle import MANIFEST, Bundle, sha256_of
from pellucid.errors import Conflict, NotFound
from pellucid.plan import NAME_PATTERN
from pellucid.tracking.contract import ModelVersion, RegisteredModel
from pellucid.tracking.mlflow.failures import translated
from pellucid.tracking.mlflow.model import model_directory, onnx_directory
from pellucid.tracking.mlflow.runs import fitting_params, latest_metrics
from pellucid.tracking.page import flatten

_BUNDLE_TAG = "pellucid.bundle"  # SHA-256 of the manifest or ONNX file: what a logged model holds
_TEXT_LENGTH = 5000  # of descriptions and tags, in MLflow's database
_PAGE = 1000
_NOT_IN_MODEL_NAMES = re.compile(r"[^\w-]")


class MlflowRegistry:
    """A `Registry`."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    @translated()
    def register(
        self, run_id: str, name: str, bundle: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The run's version of `name`: found, or made from the bundle. One per run, ever.

        The files go into one of MLflow's logged models, which shows them with the run's test
        metrics; the version points there. It is created last, so a version always has its files.
        """

        def log() -> tuple[str, str]:
            opened = Bundle.open(bundle)
            return self._log_model(run_id, opened), opened.card

        return self._register(run_id, name, tags, log)

    @translated()
    def register_onnx(
        self, run_id: str, name: str, model: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The run's version of `name`: found, or made from an ONNX file that was made elsewhere.

        Raises `InvalidData` where the file is no ONNX model.
        """
        return self._register(run_id, name, tags, lambda: (self._log_onnx(run_id, name, model), ""))

    @translated()
    def models(self) -> list[RegisteredModel]:
        """Every registered model, by name; one request for a thousand."""
        found, token = [], None
        while True:
            page = self._client.search_registered_models(max_results=_PAGE, page_token=token)
            found += [_model(model) for model in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda model: model.name)

    @translated()
    def model(self, name: str) -> RegisteredModel:
        """One model, in one request. Raises `NotFound`."""
        _require_name(name)
        return _model(self._client.get_registered_model(name))

    @translated()
    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of a model, newest first. Raises `NotFound`."""
        aliases = self.model(name).aliases
        found, token = [], None
        while True:
            page = self._client.search_model_versions(
                f"name = '{name}'", max_results=_PAGE, page_token=token
            )
            found += [_version(version, aliases) for version in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda version: version.version, reverse=True)

    @translated()
    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises `NotFound`."""
        aliases = self.model(name).aliases
        return _version(self._client.get_model_version(name, str(version)), aliases)

    @translated()
    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. Raises `NotFound`."""
        _require_name(name)
        self._client.set_registered_model_alias(name, alias, str(version))

    @translated()
    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error where there is none."""
        _require_name(name)
        self._client.delete_registered_model_alias(name, alias)

    @translated()
    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of the registered model. Raises `NotFound`."""
        _require_name(name)
        self._client.set_registered_model_tag(name, key, value[:_TEXT_LENGTH])

    @translated()
    def delete_model_tag(self, name: str, key: str) -> None:
        """Remove a tag of the registered model; no error where it has none. Raises `NotFound`."""
        _require_name(name)
        self._client.delete_registered_model_tag(name, key)

    @translated()
    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version, one after the other. Raises `NotFound`."""
        _require_name(name)
        for key, value in tags.items():
            self._client.set_model_version_tag(name, str(version), key, value[:_TEXT_LENGTH])

    @translated()
    def download(self, name: str, version: int, to: Path) -> None:
        """Put the version's bundle into the new directory `to`, whole or not at all."""
        _require_name(name)
        if (to / MANIFEST).is_file():
            return
        source = self._client.get_model_version_download_uri(name, str(version))
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
        try:
            files = mlflow.artifacts.download_artifacts(
                source, dst_path=str(scratch), tracking_uri=self._client.tracking_uri
            )
            _move(Path(files), to)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _of_run(self, run_id: str, name: str) -> int | None:
        """The run's version; later ones, which unanswered calls made, are deleted."""
        found = self._client.search_model_versions(f"run_id = '{run_id}'", max_results=_PAGE)
        numbers = sorted(int(version.version) for version in found if version.name == name)
        for number in numbers[1:]:
            self._client.delete_model_version(name, str(number))
        return numbers[0] if numbers else None

    def _register(
        self,
        run_id: str,
        name: str,
        tags: Mapping[str, str],
        log: Callable[[], tuple[str, str]],
    ) -> ModelVersion:
        """The run's version, made if need be of what `log` gives: a logged model, a description."""
        found = self._of_run(run_id, name)
        if found is None:
            model_id, description = log()
            with suppress(Conflict), translated():
                self._client.create_registered_model(name)
            self._client.create_model_version(
                name,
                f"models:/{model_id}",
                run_id,
                tags={key: str(value)[:_TEXT_LENGTH] for key, value in tags.items()},
                description=description[:_TEXT_LENGTH],
                await_creation_for=None,
                model_id=model_id,
            )
            found = self._of_run(run_id, name)
        if found is None:
            raise NotFound(f"The new version of {name} was deleted at once.")
        return self.version(name, found)

    def _log_model(self, run_id: str, bundle: Bundle) -> str:
        """The run's logged model with this bundle's files."""
        manifest = bundle.manifest
        return self._logged(
            run_id,
            manifest.name,
            sha256_of(bundle.root / MANIFEST),
            lambda model_id: model_directory(bundle, run_id, model_id),
            params=fitting_params(flatten(manifest.plan)),
            model_type=manifest.task,
        )

    def _log_onnx(self, run_id: str, name: str, model: Path) -> str:
        """The run's logged model with an ONNX file that was made elsewhere."""
        return self._logged(
            run_id,
            name,
            sha256_of(model),
            lambda model_id: onnx_directory(model, run_id, model_id),
            model_type="other",
        )

    def _logged(
        self,
        run_id: str,
        name: str,
        digest: str,
        directory: Callable[[str], AbstractContextManager[Path]],
        **told: Any,
    ) -> str:
        """The run's logged model with these files: found, completed, or made."""
        run = self._client.get_run(run_id)
        found = self._client.search_logged_models(
            [run.info.experiment_id],
            f"source_run_id = '{run_id}' AND tags.`{_BUNDLE_TAG}` = '{digest}'",
        )
        model = min(found, key=lambda m: m.creation_timestamp, default=None)
        if model is None:
            model = self._client.create_logged_model(
                run.info.experiment_id,
                name=_NOT_IN_MODEL_NAMES.sub("_", name),
                source_run_id=run_id,
                tags={_BUNDLE_TAG: digest},
                **told,
            )
        if model.status != LoggedModelStatus.READY:
            with directory(model.model_id) as files:
                self._client.log_model_artifacts(model.model_id, str(files))
            self._link(run, model.model_id)
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return str(model.model_id)

    def _link(self, run: Any, model_id: str) -> None:
        """Show the model on the run's page, and the run's test metrics on the model's."""
        outputs = run.outputs.model_outputs if run.outputs else []
        if model_id not in {output.model_id for output in outputs}:
            self._client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=0)])
        points = [
            MlflowMetric(m.key, m.value, m.timestamp, m.step, model_id=model_id)
            for m in latest_metrics(run)
            if m.key.startswith("test/")
        ]
        if points:  # the same points as the run's, which MLflow does not store twice
            self._client.log_batch(run.info.run_id, metrics=points[:_PAGE])


def _model(model: Any) -> RegisteredModel:
    return RegisteredModel(
        name=model.name,
        aliases={alias: int(version) for alias, version in model.aliases.items()},
        latest=max((int(version.version) for version in model.latest_versions), default=None),
        created=model.creation_timestamp,
        tags=dict(model.tags),
    )


def _version(version: Any, aliases: Mapping[str, int]) -> ModelVersion:
    number = int(version.version)
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return ModelVersion(
        name=version.name,
        version=number,
        run_id=version.run_id or "",
        created=created.isoformat(),
        aliases=tuple(sorted(alias for alias, at in aliases.items() if at == number)),
        tags=dict(version.tags),
    )


def _require_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise NotFound(f"There is no model {name!r}.", where={"model": name})


def _move(source: Path, to: Path) -> None:
    try:
        source.rename(to)
    except OSError:
        if not (to / MANIFEST).is_file():  # else another download was faster
            raise
