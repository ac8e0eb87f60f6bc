"""A job's progress, live: a bar on a terminal, lines elsewhere.

Of a training over its epochs, of a search over its trials, of a scoring or an explanation over its
rows.
"""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pellucid.client import Client
from pellucid.resources.jobs import Event, Job

_LINES_PER_JOB = 10


def follow(client: Client, job_id: str, console: Console) -> Job:
    """Show what happens to a job until it has ended, and return it."""
    view = _Bar(console) if console.is_terminal else _Lines(console)
    with view:
        for event in client.jobs.events(job_id):
            view.show(event)
    return client.jobs.get(job_id)


class _Lines:
    """One line for each state and stage, and some of the epochs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epoch = 0
        self._tenth = 0  # of the rows
        self._best: int | None = None  # trial of a search

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None: ...

    def show(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "progress" and "trials" in event.data:
            self.search(event.data)
        elif event.kind == "progress" and "rows" in event.data:
            self.rows(event.data)
        elif event.kind == "progress":
            self.progress(event.data)
        elif event.kind == "trial":
            self.trial(event.data)
        elif event.kind == "stage":
            self.stage(str(event.data["stage"]))
        elif event.kind == "state":
            self.print(f"{event.data['status']}: {event.data['reason']}")

    def trial(self, data: dict[str, Any]) -> None:
        """Show that a trial of a search begins or has ended."""
        said = f"trial {data['trial']} {data['status']}"
        if data.get("params"):
            said += ": " + ", ".join(f"{path} = {_short(v)}" for path, v in data["params"].items())
        elif data.get("value") is not None:
            said += f": {data['value']:.6g}"
        elif data["status"] == "failed":
            said += f": {data['reason']}"
        self.print(said)

    def search(self, data: dict[str, Any]) -> None:
        """Show how a search stands, whenever its best trial is another."""
        best = data["best"]
        if best is not None and best["trial"] != self._best:
            self._best = best["trial"]
            self.print(f"{data['ended']}/{data['trials']} trials  {_standing(data)}")

    def rows(self, data: dict[str, Any]) -> None:
        """Show how many rows are done."""
        tenth = data["rows"] * _LINES_PER_JOB // data["total"]
        if tenth != self._tenth:
            self._tenth = tenth
            self.print(f"{data['rows']:,}/{data['total']:,} rows  {_pace(data)}")

    def progress(self, data: dict[str, Any]) -> None:
        """Show an epoch."""
        epoch, epochs = data["epoch"], data["epochs"]
        news = epoch != self._epoch  # progress is also told within an epoch
        self._epoch = epoch
        if news and (epoch == epochs or epoch % max(1, epochs // _LINES_PER_JOB) == 0):
            self.print(f"{_fold(data)}epoch {epoch}/{epochs}  {_losses(data)}")

    def stage(self, name: str) -> None:
        """Show a stage of the training process."""
        self.print(name)

    def print(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True)


class _Bar(_Lines):
    """A bar over the epochs, with losses and the time that is left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            console=console,
        )
        self._task = self._bar.add_task("waiting", total=None, losses="")

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def progress(self, data: dict[str, Any]) -> None:
        """Move the bar."""
        where = f"{_fold(data)}{_losses(data)}"
        self._bar.update(self._task, completed=data["epoch"], total=data["epochs"], losses=where)

    def rows(self, data: dict[str, Any]) -> None:
        """Move the bar over the rows."""
        done, total = data["rows"], data["total"]
        self._bar.update(self._task, completed=done, total=total, losses=_pace(data))

    def search(self, data: dict[str, Any]) -> None:
        """Move the bar over the trials."""
        self._bar.update(
            self._task,
            description="trials",
            completed=data["ended"],
            total=data["trials"],
            losses=_standing(data),
        )

    def stage(self, name: str) -> None:
        """Name the stage in front of the bar."""
        self._bar.update(self._task, description=name)


def _standing(data: dict[str, Any]) -> str:
    best = data["best"]
    ends = [f"{data[key]} {key}" for key in ("running", "pruned", "failed") if data[key]]
    if best is not None:
        ends.insert(0, f"best {data['metric']} {best['value']:.6g} (trial {best['trial']})")
    return "  ".join(ends)


def _pace(data: dict[str, Any]) -> str:
    return f"{data['rows_per_second']:,.0f} rows/s  {data['eta_seconds']:.0f} s left"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fold(data: dict[str, Any]) -> str:
    inner = f".{data['inner']}" if "inner" in data else ""
    return f"fold {data['fold']}{inner}/{data['folds']}  " if "fold" in data else ""


def _losses(data: dict[str, Any]) -> str:
    parts = [
        f"{label} {data[key]:.4f}"
        for label, key in (("train", "train_loss"), ("validation", "validation_loss"))
        if data.get(key) is not None
    ]
    if data.get("eta_seconds") is not None:
        parts.append(f"{data['eta_seconds']:.0f} s left")
    return "  ".join(parts)
