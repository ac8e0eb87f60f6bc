"""Runs the services of a Compose file as local processes: their commands, their environment.

What a container runtime would do is done with the means of one machine:

- variables are interpolated (`$$`, `${NAME}`, `${NAME:-default}`, one in another);
- `service:port` becomes `127.0.0.1:` and a free port, also in secrets; within its own service a
  container port becomes that free port;
- mount points (volumes, tmpfs, secrets, configs) become directories below a temporary one; one
  named volume is one directory for all services that mount it;
- services start in the order of `depends_on`, and its conditions and the health checks are real;
- an image that is not built here (PostgreSQL) is stood for by an `Image` that the caller gives.

Not done: isolation. Users, read-only root file systems, limits and networks are only declared.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Self

import yaml

from support.ports import free_port

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::?-((?:[^{}]|\{[^{}]*\})*))?\})")  # a default has more
_SECONDS = {"s": 1.0, "m": 60.0}


def load(path: Path, variables: Mapping[str, str], profiles: set[str]) -> dict[str, Any]:
    """The file, interpolated, with only the services of these profiles and those without one."""
    document = _interpolate(yaml.safe_load(path.read_text(encoding="utf-8")), variables)
    document["services"] = {
        name: service
        for name, service in document["services"].items()
        if not service.get("profiles") or profiles & set(service["profiles"])
    }
    return dict(document)


def _interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, variables) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(
            lambda match: (
                "$"
                if match[1]
                else variables.get(match[2]) or _interpolate(match[3] or "", variables)
            ),
            value,
        )
    return value


@dataclass(frozen=True)
class Image:
    """Stands for an image that is not built here: its programs, and how it starts a service."""

    programs: Path
    command: Callable[["LocalService"], list[str]]
    user: str | None = None


@dataclass
class LocalService:
    """A service with its paths, ports and host names made local."""

    name: str
    command: list[str]
    environment: dict[str, str]
    health: list[str]
    grace: float
    depends_on: dict[str, str]  # service -> condition
    ports: dict[int, int]  # container port -> local port
    mounts: dict[str, Path]  # container path -> local path
    log: Path
    image: Image | None

    def variables(self) -> dict[str, str]:
        """The environment, with what an image gives beside the file: programs and a home."""
        programs = self.image.programs if self.image else Path(sys.executable).parent
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        return {"PATH": path, "HOME": str(self.log.parent), "LC_ALL": "C.UTF-8"} | self.environment


class Project:
    """`with Project(document, directory, starters) as project:` all services run and are healthy.

    Args:
        document: from `load`.
        directory: where mounts and logs go.
        images: by name, those that are not built here.
    """

    def __init__(
        self, document: Mapping[str, Any], directory: Path, images: Mapping[str, Image]
    ) -> None:
        self._document = document
        self._directory = directory
        self._images = images
        self._ports = {
            name: {port: free_port() for port in _container_ports(service)}
            for name, service in document["services"].items()
        }
        self.services = {name: self._localize(name) for name in document["services"]}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            order = TopologicalSorter({s.name: s.depends_on for s in self.services.values()})
            for name in order.static_order():
                for other, condition in self.services[name].depends_on.items():
                    self._await(self.services[other], condition)
                self._start(self.services[name])
            for service in self.services.values():
                self._await(service, "service_healthy")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self.processes):
            self._stop(self.services[name], self.processes[name])

    def url(self, name: str) -> str:
        """Where a service's first published port answers."""
        port = next(iter(self.services[name].ports.values()))
        return f"http://127.0.0.1:{port}"

    def is_healthy(self, service: LocalService) -> bool:
        """Run the service's own health check."""
        done = subprocess.run(
            service.health,
            env=service.variables(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode == 0

    def _start(self, service: LocalService) -> None:
        command = service.image.command(service) if service.image else service.command
        with service.log.open("wb") as log:
            self.processes[service.name] = subprocess.Popen(
                command,
                env=service.variables(),
                user=service.image.user if service.image else None,
                extra_groups=[] if service.image and service.image.user else None,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _await(self, service: LocalService, condition: str) -> None:
        process = self.processes[service.name]
        if condition == "service_completed_successfully" or not service.health:
            assert process.wait(120) == 0, self._failure(service, "failed")
            return
        deadline = time.monotonic() + 180
        while process.poll() is not None or not self.is_healthy(service):
            assert process.poll() is None, self._failure(service, "stopped")
            assert time.monotonic() < deadline, self._failure(service, "stayed unhealthy")
            time.sleep(0.5)

    def _stop(self, service: LocalService, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(service.grace)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self._failure(service, "did not stop in its grace")) from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _failure(self, service: LocalService, what: str) -> str:
        return f"{service.name} {what}:\n{service.log.read_text(errors='replace')[-6000:]}"

    def _localize(self, name: str) -> LocalService:
        service = self._document["services"][name]
        mounts = self._mounts(name, service)
        health = service.get("healthcheck", {})
        test = list(health.get("test", []))

        def local(value: object) -> str:
            return self._local_text(str(value), name, mounts)

        return LocalService(
            name=name,
            command=[local(part) for part in service.get("command", [])],
            environment={k: local(v) for k, v in service.get("environment", {}).items()},
            health=[local(part) for part in test[1:]],
            grace=_seconds(service.get("stop_grace_period", "10s")),
            depends_on={
                other: options["condition"]
                for other, options in service.get("depends_on", {}).items()
            },
            ports=self._ports[name],
            mounts=mounts,
            log=self._directory / f"{name}.log",
            image=self._images.get(service["image"].split(":")[0]),
        )

    def _mounts(self, name: str, service: Mapping[str, Any]) -> dict[str, Path]:
        mounts: dict[str, Path] = {}
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            mounts[target] = self._directory / "volumes" / source
        own = self._directory / "services" / name
        for number, target in enumerate(service.get("tmpfs", [])):
            mounts[target] = own / f"tmpfs{number}"
        for path in mounts.values():
            path.mkdir(parents=True, exist_ok=True)
        own.mkdir(parents=True, exist_ok=True)
        for secret in service.get("secrets", []):
            source = Path(self._document["secrets"][secret]["file"])
            mounts[f"/run/secrets/{secret}"] = own / secret
            text = self._local_text(source.read_text(encoding="utf-8"), name, {})
            (own / secret).write_text(text, encoding="utf-8")
        for config in service.get("configs", []):
            mounts[config["target"]] = own / Path(config["target"]).name
            mounts[config["target"]].write_text(
                self._document["configs"][config["source"]]["content"], encoding="utf-8"
            )
        return mounts

    def _local_text(self, text: str, name: str, mounts: Mapping[str, Path]) -> str:
        for other, ports in self._ports.items():
            for port, local in ports.items():
                text = re.sub(rf"\b{other}:{port}\b", f"127.0.0.1:{local}", text)
        for port, local in self._ports[name].items():
            text = re.sub(rf"(?<![\d.]){port}(?!\d)", str(local), text)
        if not mounts:
            return text
        targets = "|".join(map(re.escape, sorted(mounts, key=len, reverse=True)))
        pattern = rf"(?<![\w/.-])({targets})(?![\w.-])"
        return re.sub(pattern, lambda match: str(mounts[match[1]]), text)


def _container_ports(service: Mapping[str, Any]) -> list[int]:
    published = [str(port).rsplit(":", 1)[-1] for port in service.get("ports", [])]
    return [int(port) for port in dict.fromkeys([*published, *service.get("expose", [])])]


def _seconds(text: str) -> float:
    return float(text[:-1]) * _SECONDS[text[-1]]
