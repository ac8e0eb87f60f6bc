"""Records what decides the outcome of a run; see `pellucid.provenance`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pellucid.bundle import PROVENANCE
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan
from pellucid.provenance import Provenance, digest
from pellucid_pipelines import environment
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.data import Data
from pellucid_pipelines.loop import Fit, State
from pellucid_pipelines.rows import Rows, Source
from pellucid_pipelines.tensors import seed_of

_ELSEWHERE = ("name", "serving")  # keys of a plan that change nothing in the network
_STREAMED = 4096  # of rows that are streamed, as many stand for all
_VARIABLES = ("MKL_", "KMP_", "ATEN_", "TORCH_", "CUBLAS_", "CUDA_", "NVIDIA_TF32")


class Recorder(Callback):
    """Collects a run's provenance while it goes; stages add to it in the order of a run."""

    def __init__(self, request: Request, spec: Plan, device: torch.device) -> None:
        self.inputs = _code() | _machine(device) | _asked(request, spec)
        self.outcome: dict[str, str] = {}
        self._fits = 0

    def prepared(self, examples: Data, seed: int) -> None:
        """The split, and what the generators of random numbers give."""
        for name, rows in examples.parts._asdict().items():
            self.inputs[f"split.{name}"] = digest(rows.tobytes())
        self.inputs["random_numbers"] = _draws(seed)

    def fit_started(self, fit: Fit) -> None:
        """The rows, the order of the first epoch, the network before its first step, threads."""
        self._fits += 1
        prefix = f"fit_{self._fits}." if self._fits > 1 else ""
        found = {
            f"{what}.{name}": of_tensors({what: value})
            for name, rows in (("train", fit.train), ("validation", fit.validation))
            for what, value in _parts(rows).items()
        }
        found["order"] = of_tensors({"order": fit.train.order(fit.spec.training.seed, 0)})
        found["initial_weights"] = of_tensors(fit.network.state_dict())
        found["threads"] = str(torch.get_num_threads())
        self.inputs |= {f"{prefix}{name}": value for name, value in found.items()}

    def ended(self, state: State, weights: Mapping[str, Tensor]) -> None:
        """What came of it: losses (each to the last bit) and weights."""
        self.outcome = {
            "epochs": str(state.epoch),
            "losses": digest([loss.hex() for loss in state.losses]),
            "weights": of_tensors(weights),
        }

    def write(self, workspace: Workspace) -> None:
        """Write it into the bundle, and local changes to the code beside it."""
        workspace.bundle.mkdir(parents=True, exist_ok=True)
        record = Provenance(inputs=self.inputs, outcome=self.outcome)
        record.write(workspace.bundle / PROVENANCE)
        if diff := environment.git_diff(Path(__file__)):
            (workspace.outputs / "code.diff").write_text(diff + "\n", encoding="utf-8")


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A digest of named tensors: names, types, shapes and every bit."""
    parts = []
    for name, value in sorted(tensors.items()):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        parts.append([name, str(value.dtype), list(value.shape), digest(content.numpy().tobytes())])
    return digest(parts)


def _parts(rows: Source) -> dict[str, Tensor]:
    """What is learnt from; of inputs that are streamed, and may not fit in memory, some."""
    some = rows
    if not isinstance(some, Rows):
        some = some.take(torch.linspace(0, len(rows) - 1, _STREAMED).long())
    parts = {"inputs": some.inputs, "targets": rows.targets}
    return parts if rows.weights is None else parts | {"weights": rows.weights}


def _code() -> dict[str, str]:
    found = environment.git_state(Path(__file__))
    diff = environment.git_diff(Path(__file__))
    code = {"code.commit": found.get("git_commit", "not under version control")}
    return code | {"code.diff": digest(diff.encode()) if diff else "none"}


def _machine(device: torch.device) -> dict[str, str]:
    versions = {f"version.{name}": value for name, value in environment.versions().items()}
    flags = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32.matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32.cudnn": torch.backends.cudnn.allow_tf32,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "mkldnn": torch.backends.mkldnn.enabled,
    }
    variables = {
        f"variable.{name}": value
        for name, value in sorted(os.environ.items())
        if name.startswith(_VARIABLES)
    }
    cuda = device.type == "cuda"
    return {
        "lock_file": digest(environment.frozen().encode()),
        **versions,
        "platform": sys.platform,
        "cpu": environment.cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        **{name: str(value).lower() for name, value in flags.items()},
        **variables,
    }


def _asked(request: Request, spec: Plan) -> dict[str, str]:
    """Data, schema and plan; of the plan every key, so that the one that differs is named."""
    keys = spec.model_dump(mode="json")
    data = keys.pop("data")
    data.pop("dataset")  # the content counts, whatever its name
    data.pop("constraints")  # on explanations: nothing is learnt from them
    schema = request.data_schema.model_dump(
        mode="json", exclude={"columns": {"__all__": {"constraint"}}}
    )
    return {
        "data": request.data_version,
        "schema": digest(schema),
        "plan.data": digest(data),
        **{f"plan.{key}": str(value) for key, value in keys.items() if key not in _ELSEWHERE},
    }


def _draws(seed: int) -> str:
    """A digest of some random numbers: generators may change from one version to another."""
    generator = torch.Generator().manual_seed(seed_of("draws", seed))
    ours = torch.rand(1000, generator=generator)
    theirs = torch.from_numpy(np.random.default_rng(seed).random(1000))
    return of_tensors({"torch": ours, "numpy": theirs})
