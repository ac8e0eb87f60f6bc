"""`mlflow models serve` of a saved ONNX model: one worker."""

import os
import shutil
import sys
from pathlib import Path

import mlflow.onnx
import onnx
from network import PATH, PORT

_ONE_THREAD = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}


def main() -> None:
    """Save the model and become the server."""
    shutil.rmtree("saved", ignore_errors=True)
    mlflow.onnx.save_model(
        onnx.load(PATH), "saved", onnx_session_options=_ONE_THREAD, pip_requirements=["onnxruntime"]
    )
    mlflow_command = Path(sys.executable).with_name("mlflow")
    os.environ["PATH"] = f"{mlflow_command.parent}:{os.environ['PATH']}"  # it starts uvicorn
    os.execv(
        mlflow_command,
        [str(mlflow_command), "models", "serve", "--model-uri", "saved", "--port", str(PORT),
         "--workers", "1", "--env-manager", "local"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
