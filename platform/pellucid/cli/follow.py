"""A job's progress, live: a bar on a terminal, lines elsewhere."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pellucid.client import Client
from pellucid.resources import Event, Job

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

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None: ...

    def show(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "progress":
            self.progress(event.data)
        elif event.kind == "stage":
            self.stage(str(event.data["stage"]))
        elif event.kind == "state":
            self.print(f"{event.data['status']}: {event.data['reason']}")

    def progress(self, data: dict[str, Any]) -> None:
        """Show an epoch."""
        epoch, epochs = data["epoch"], data["epochs"]
        news = epoch != self._epoch  # progress is also told within an epoch
        self._epoch = epoch
        if news and (epoch == epochs or epoch % max(1, epochs // _LINES_PER_JOB) == 0):
            self.print(f"epoch {epoch}/{epochs}  {_losses(data)}")

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
        self._bar.update(
            self._task, completed=data["epoch"], total=data["epochs"], losses=_losses(data)
        )

    def stage(self, name: str) -> None:
        """Name the stage in front of the bar."""
        self._bar.update(self._task, description=name)


def _losses(data: dict[str, Any]) -> str:
    parts = [
        f"{label} {data[key]:.4f}"
        for label, key in (("train", "train_loss"), ("validation", "validation_loss"))
        if data.get(key) is not None
    ]
    if data.get("eta_seconds") is not None:
        parts.append(f"{data['eta_seconds']:.0f} s left")
    return "  ".join(parts)
