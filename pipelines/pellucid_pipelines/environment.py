"""What a run ran on: device, versions, commit; logged so that it can be repeated."""

import functools
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from pellucid.errors import DeviceUnavailable

_LIBRARIES = (
    "pellucid", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "shap", "numpy",
    "pyarrow", "pandas", "scikit-learn", "scipy",
)  # fmt: skip
_WORTH_THREADS = 2**25


def choose_device(asked: str) -> torch.device:
    """The device of a plan: `auto` is CUDA where there is one.

    Raises:
        DeviceUnavailable: CUDA was asked for and is not there.
    """
    cuda = torch.cuda.is_available()
    if asked == "cuda" and not cuda:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPU"
        raise DeviceUnavailable(
            f"The plan asks for CUDA, and PyTorch {torch.__version__} ({built}) finds no device.",
            where={"path": "training.device"},
            remedy="Run the worker where `nvidia-smi` lists a device, or set training.device.",
        )
    return torch.device("cuda" if asked != "cpu" and cuda else "cpu")


def make_deterministic(wanted: bool, device: torch.device) -> None:
    """Ask PyTorch for algorithms that give the same bits again on the same device, or for speed.

    Must come before the first CUDA call of the process: cuBLAS reads its workspace then. An
    operation that has no such algorithm is warned of. On the CPU all we use are of that kind.
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.deterministic = wanted
    torch.backends.cudnn.benchmark = device.type == "cuda" and not wanted


@torch.no_grad()
def multiply_adds(network: nn.Module, row: Tensor | None) -> int:
    """Of a forward pass of one row (1, ...): of its linear layers and convolutions.

    At least one for each weight, which is all that is known without a row.
    """
    parameters = sum(each.numel() for each in network.parameters())
    counted = [0]

    def count(layer: nn.Module, _inputs: object, outputs: Tensor) -> None:
        counted[0] += outputs.numel() * layer.get_parameter("weight")[0].numel()

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    layers = [each for each in network.modules() if isinstance(each, kinds)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = network.training
    if row is not None:
        network.eval()(row)
    network.train(training)
    for hook in hooks:
        hook.remove()
    return max(parameters, counted[0])


def limit_threads(work: int) -> None:
    """One thread per physical core that this process may use; one alone for small networks.

    `work` is the multiply-adds of a forward pass; below `_WORTH_THREADS` waking the threads costs
    more than they save. OMP_NUM_THREADS has the last word.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = psutil.cpu_count(logical=False) or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    torch.set_num_threads(min(cores, usable) if work >= _WORTH_THREADS else 1)


def versions() -> dict[str, str]:
    """Python and the libraries that shape a model -> version."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # one of the two onnxruntime wheels
            continue
    return found


@functools.cache  # reading hundreds of files takes a good part of a second
def frozen() -> str:
    """Every installed distribution, as `pip freeze` prints them."""
    found = {
        f"{item.metadata['Name']}=={item.version}"
        for item in metadata.distributions()
        if item.metadata["Name"]
    }
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def tags(device: torch.device, seed: int) -> dict[str, str]:
    """A run's tags: device, CPU, seed, commit, library and driver versions."""
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_name(),
        "cpu_threads": str(torch.get_num_threads()),
        "seed": str(seed),
        "deterministic": str(torch.are_deterministic_algorithms_enabled()).lower(),
    }
    if device.type == "cuda":
        found |= {"cuda": torch.version.cuda or "", "cuda_driver": _driver_version()}
        found |= {
            "tf32.matmul": str(torch.backends.cuda.matmul.allow_tf32).lower(),
            "tf32.cudnn": str(torch.backends.cudnn.allow_tf32).lower(),
        }
    found |= {f"version.{name}": version for name, version in versions().items()}
    return found | git_state(Path(__file__))


def git_state(file: Path) -> dict[str, str]:
    """The commit of the repository that tracks a file, and whether it has local changes.

    Empty for an installed package, which no repository tracks.
    """
    if _git(file, "ls-files", "--error-unmatch", file.name) is None:
        return {}
    commit = _git(file, "rev-parse", "HEAD")
    changes = _git(file, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": str(bool(changes)).lower()} if commit else {}


def git_diff(file: Path) -> str:
    """What differs from the commit in the files of the repository that tracks a file."""
    if _git(file, "ls-files", "--error-unmatch", file.name) is None:
        return ""
    root = _git(file, "rev-parse", "--show-toplevel") or "."
    return _git(Path(root) / "any", "diff", "HEAD", "--", "platform", "pipelines") or ""


def _git(file: Path, *arguments: str) -> str | None:
    """What git answers in a file's directory; None where it refuses, or is not there."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(file.parent), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return answer.stdout.strip() if answer.returncode == 0 else None


def cpu_name() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _driver_version() -> str:
    import pynvml

    pynvml.nvmlInit()
    return str(pynvml.nvmlSystemGetDriverVersion())
