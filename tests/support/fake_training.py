"""A training process in miniature: `python fake_training.py JOB_DIR MODE`.

It keeps the real one's contract (spools, checkpoint, result, exit status) without PyTorch. Modes:
`succeed`; `gated` (goes on behind its first epoch when there is a file `go`); `reject` (exit status
2); `crash` (attempts 1 and 2 die half-way); `hang`; `stubborn` (hangs, has a child, and ignores
SIGTERM).
"""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pellucid.bundle import Bundle, Datatype, Manifest, Output, Parity
from pellucid.errors import TrainingFailed
from pellucid.jobs.workspace import Request, Spool, Workspace, metric_entries, write_atomically

EPOCHS = 8


def main() -> int:
    workspace, mode = Workspace(Path(sys.argv[1])), sys.argv[2]
    gate = workspace.root / "go"
    request = workspace.read_request()
    events, metrics = Spool(workspace.events_path), Spool(workspace.metrics_path)
    print(f"attempt {request.attempt} begins", flush=True)
    write_atomically(workspace.scratch / "rows", b"much")
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if mode == "reject":
        workspace.write_error(TrainingFailed("The loss is NaN.", remedy="Lower optimizer.lr."))
        return 2
    committed = workspace.checkpoint / "epoch"
    first = int(committed.read_text()) + 1 if committed.exists() else 1
    for epoch in range(first, EPOCHS + 1):
        metrics.append(*metric_entries({"train/loss": 1 / epoch}, epoch))
        if mode == "crash" and request.attempt < 3 and epoch == 3 * request.attempt:
            print(f"dying in epoch {epoch}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomically(committed, str(epoch).encode())
        events.append(progress(epoch, loss_of(request)))
        time.sleep(0.05)
        while mode in ("hang", "stubborn") or (mode == "gated" and not gate.exists()):
            time.sleep(0.05)
    if request.trial:
        workspace.write_result({"validation": {"loss": loss_of(request)}, "epochs": EPOCHS})
    else:
        pack(workspace, request)
    return 0


def loss_of(request: Request) -> float:
    """What a trial's validation loss would be: least at the learning rate 0.01."""
    return abs(math.log10(request.plan["optimizer"]["lr"]) + 2)


def progress(epoch: int, loss: float) -> dict[str, object]:
    data = {"epoch": epoch, "epochs": EPOCHS, "train_loss": 1 / epoch, "validation_loss": loss}
    return {"time": time.time_ns() // 1_000_000, "kind": "progress", "data": data}


def pack(workspace: Workspace, request: Request) -> None:
    workspace.bundle.mkdir(parents=True)
    (workspace.bundle / "model.onnx").write_bytes(b"weights")
    (workspace.bundle / "card.md").write_text("# card\n")
    manifest = Manifest(
        name=request.plan["name"],
        task="regression",
        target="y",
        inputs=(),
        outputs=(Output(name="value", datatype=Datatype.FP32, shape=(-1,)),),
        opset=20,
        files={},
        parity=Parity(rows=0, tolerance=1e-5, max_error=0.0),
        metrics={"rmse": 0.5},
        data_version=request.data_version,
        job_id=request.job_id,
        created="2026-01-01T00:00:00+00:00",
        plan=request.plan,
        environment={},
    )
    Bundle.seal(workspace.bundle, manifest)
    workspace.write_result({"metrics": {"rmse": 0.5}, "gate_metric": "rmse", "epochs": EPOCHS})


if __name__ == "__main__":
    sys.exit(main())
