"""Models that were made elsewhere, into the registry."""

import re
from pathlib import Path

from pellucid.bundle import sha256_of
from pellucid.errors import InvalidData, InvalidInput
from pellucid.plan import NAME_PATTERN
from pellucid.tracking.contract import CHAMPION, ModelVersion, Registry, Tracker
from pellucid.tracking.promotion import promote

_SOURCE_TAG = "pellucid.imported"  # the file's name


def import_onnx(
    tracker: Tracker, registry: Registry, file: Path, name: str, alias: str | None = None
) -> ModelVersion:
    """Register an ONNX file, in a run of its own; the same file again is the same version.

    Args:
        tracker: gets the run.
        registry: gets the version.
        file: with its external data, where it has any, beside it.
        name: of the model.
        alias: pointed at the version; the champion is served.

    Raises:
        InvalidInput: the name cannot be that of a model.
        InvalidData: the file is not there, or no ONNX model.
        TrackerUnavailable: do it again later.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidInput(
            f"{name!r} is no model name.",
            remedy="Use letters, digits, ., _ and -, beginning with a letter or digit.",
        )
    if not file.is_file():
        raise InvalidData("There is no such file.", where={"file": str(file)})
    tags = {_SOURCE_TAG: file.name}
    run_id = tracker.open_run(f"import-{name}-{sha256_of(file)[:32]}", name, tags)
    try:
        version = registry.register_onnx(run_id, name, file, tags)
    except InvalidData:
        tracker.close_run(run_id, "FAILED")
        raise
    tracker.close_run(run_id, "FINISHED")
    if alias == CHAMPION:
        promote(registry, name, version.version)
    elif alias:
        registry.set_alias(name, alias, version.version)
    return registry.version(name, version.version)
