"""What the processes of attempts have in common: the job's directory in, an exit status out."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.jobs.workspace import Workspace
from pellucid.logs import configure_logging

_log = logging.getLogger(__name__)


def attempt(run: Callable[[Workspace], None], final: tuple[type[PellucidError], ...]) -> int:
    """Run the attempt whose directory the command line names; gives the exit status.

    Args:
        run: does the work, and commits its result.
        final: errors after which no attempt can succeed: told in `error.json`, and status 2.
    """
    configure_logging()
    workspace = Workspace(Path(sys.argv[1]))
    try:
        run(workspace)
    except final as error:
        _log.error("%s", error)
        workspace.write_error(error)
        return 2
    return 0
