"""How the command line prints."""

from io import StringIO

import pytest
from rich.console import Console

from pellucid.cli import terminal

HEADERS = ("alert", "severity", "state", "model", "what", "last seen", "summary")


def test_the_first_cell_of_a_row_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the id or name that the next command is given."""
    printed = StringIO()
    monkeypatch.setattr(terminal, "console", lambda: Console(file=printed, width=80))
    what, seen, summary = "performance of log_loss", "2026-11-22 11:10", "log loss is 1.07 " * 9
    row = ("01a202f3545c7aecbaf9", "critical", "firing", "credit/1", what, seen, summary)
    terminal.show_table(HEADERS, [row], "")
    assert "01a202f3545c7aecbaf9 " in printed.getvalue()
