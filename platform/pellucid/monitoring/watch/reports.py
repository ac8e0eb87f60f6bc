"""The reports as files under the home, and in the MLflow runs of their versions."""

import logging
import shutil
import tempfile
import time
from pathlib import Path

from pellucid.errors import NotFound, PellucidError, TrackerUnavailable
from pellucid.jobs.workspace import write_atomically
from pellucid.monitoring import layout
from pellucid.monitoring.watch.resources import WindowResult
from pellucid.tracking.contract import Tracker

_WAITING = ".unlogged"  # beside a report that is not in its run yet; holds the run's id
_MOST = 200  # reports logged in one go
_DAY = 86_400.0

logger = logging.getLogger(__name__)


class Reports:
    """Where the reports are.

    Args:
        root: of the files.
        tracker: of the runs that get them.
    """

    def __init__(self, root: Path, tracker: Tracker) -> None:
        self._root, self._tracker = root, tracker

    def path(self, result: WindowResult) -> Path:
        """Where a window's report lies: model=NAME/3/2026-11-21/180000-3600s.html."""
        seconds = int((result.end - result.start).total_seconds())
        directory = self._root / layout.directory_of(result.model) / str(result.version)
        return directory / f"{result.start:%Y-%m-%d}" / f"{result.start:%H%M%S}-{seconds}s.html"

    def write(self, result: WindowResult, page: str) -> Path:
        """Keep a report, to be logged to the version's run as well.

        Raises:
            OSError: it cannot be written.
        """
        path = self.path(result)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page.encode())
        if result.figures.run_id:
            path.with_suffix(_WAITING).write_text(result.figures.run_id, encoding="utf-8")
        return path

    def log(self) -> int:
        """Log what waits to its runs, under `monitoring/`; how many. What fails waits on."""
        logged = 0
        for marker in sorted(self._root.rglob(f"*{_WAITING}"))[:_MOST]:
            try:
                self._log(marker)
            except TrackerUnavailable as error:
                logger.warning("reports are logged when MLflow answers again: %s", error)
                break
            except PellucidError as error:  # the run was deleted
                if not isinstance(error, NotFound):
                    logger.warning("%s is not logged: %s", marker, error)
                marker.unlink(missing_ok=True)
            else:
                logged += 1
        return logged

    def sweep(self, days: int) -> None:
        """Remove reports that are older."""
        oldest = time.time() - days * _DAY
        for path in self._root.rglob("*.html"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
                path.with_suffix(_WAITING).unlink(missing_ok=True)

    def _log(self, marker: Path) -> None:
        run_id, report = marker.read_text(encoding="utf-8"), marker.with_suffix(".html")
        if report.exists():
            with tempfile.TemporaryDirectory() as scratch:
                shutil.copyfile(report, Path(scratch, report.name))
                self._tracker.log_artifacts(
                    run_id, Path(scratch), f"monitoring/{report.parent.name}"
                )
        marker.unlink(missing_ok=True)
