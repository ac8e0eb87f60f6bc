"""Who is measured: what each needs, how it starts, and how it is asked."""

from dataclasses import dataclass, field, replace
from importlib import metadata

from inference.cases import Case
from inference.formats import BINARY, OIP, Format, plain


@dataclass(frozen=True)
class Contender:
    """A server. `app` is a file of `apps/`, or None: the server is ours.

    Args:
        packages: of its own virtual environment; none: it runs in this one.
        module: arguments of the interpreter instead of the app's file.
        check: whether its answers must be those of the model.
        only: cases that it takes part in; empty: all that it has a format for.
        environment: variables of its process.
    """

    name: str
    app: str | None
    json: Format
    binary: Format | None = None
    packages: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    check: bool = True
    only: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The name as a file's name, and as `--only` takes it."""
        return "".join(c if c.isalnum() else "-" for c in self.name.lower()).strip("-")

    def takes(self, case: Case) -> bool:
        """Whether it has a format for the case, and nothing keeps it out."""
        return (self.binary is not None or not case.binary) and (
            not self.only or case.key in self.only
        )

    def form(self, case: Case) -> Format:
        """How it is asked."""
        return self.binary if case.binary and self.binary is not None else self.json


def _runtime() -> str:
    """Everyone gets the version of ONNX Runtime that we have."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"onnxruntime=={metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    raise SystemExit("ONNX Runtime is missing: pip install -e '.[api]'")


_SERVE = ("-m", "bentoml", "serve", "bento:Serving", "--host", "127.0.0.1", "--port", "{port}")
_ROWS = plain("/predict", "rows")
OURS = Contender("Pellucid", None, OIP, BINARY)
NO_LOG = Contender(
    "Pellucid, no prediction log",
    None,
    OIP,
    BINARY,
    only=("json-1-c64", "json-64-c8", "binary-64-c8"),
    environment={"PELLUCID_PREDICTION_LOG": "false"},
)
PEERS = (
    Contender(
        "mlflow models serve",
        "mlflow_serve.py",
        plain("/invocations", "inputs", lambda found: found["predictions"]["probabilities"]),
        packages=("mlflow", "onnx", _runtime()),
    ),
    Contender("KServe", "kserve_model.py", OIP, BINARY, ("kserve", _runtime())),
    Contender("MLServer", "mlserver_runtime.py", OIP, packages=("mlserver", _runtime())),
    Contender("BentoML", "bento.py", _ROWS, packages=("bentoml", _runtime()), module=_SERVE),
    Contender(
        "LitServe",
        "lit.py",
        plain("/predict", "input", lambda found: found["output"]),
        packages=("litserve", _runtime()),
    ),
    Contender(
        "Ray Serve",
        "ray_app.py",
        plain("/", "rows", lambda found: found["probabilities"]),
        packages=("ray[serve]", _runtime()),
    ),
    Contender("Triton (pytriton)", "triton.py", OIP, BINARY, ("nvidia-pytriton", _runtime())),
    Contender(
        "FastAPI and pydantic",
        "naive.py",
        plain("/predict", "rows", lambda found: found["probabilities"]),
        packages=("fastapi", "uvicorn[standard]", "numpy", _runtime()),
    ),
)
FLOOR = Contender(
    "constant reply, uvicorn",
    "constant.py",
    _ROWS,
    check=False,
    only=("json-1-c1", "json-1-c16", "json-1-c64"),
)
PLAIN_FLOOR = replace(FLOOR, name=f"{FLOOR.name} as it starts", environment={"PLAIN": "1"})
EVERYONE = (OURS, NO_LOG, *PEERS, FLOOR, PLAIN_FLOOR)
IN_PROCESS = "ONNX Runtime in process"
NAMES = [*(each.name for each in EVERYONE), IN_PROCESS]
