"""How to use the model, over HTTP and from MLflow."""

import json

from pellucid.bundle import Input, Manifest
from pellucid.schema import Kind
from pellucid_pipelines.card.markdown import text


def loading(manifest: Manifest) -> str:
    """The section."""
    row = json.dumps({given.name: _example(given) for given in manifest.inputs})
    quoted = row.replace("'", "'\\''")
    return f"""Over HTTP, where Pellucid serves it:

```sh
curl "$PELLUCID_URL/v1/models/{manifest.name}/predict" \\
  -H 'Content-Type: application/json' -d '[{quoted}]'
```

From MLflow, once it is `champion`:

```python
import mlflow
import onnxruntime

model = mlflow.onnx.load_model("models:/{manifest.name}@champion")
session = onnxruntime.InferenceSession(model.SerializeToString())
```

{_inputs_of_graph(manifest)}"""


def _inputs_of_graph(manifest: Manifest) -> str:
    shaped = [given for given in manifest.inputs if given.shape]
    if not shaped:
        return "Every input is one raw column, of shape (rows,)."
    listed = ", ".join(
        f"{text(given.name)} {given.datatype} (rows, {', '.join(map(str, given.shape))})"
        for given in shaped
    )
    return (
        f"The graph itself takes arrays: {listed}. `mlflow.pyfunc.load_model` takes image files "
        "as bytes, lists and strings."
    )


def _example(given: Input) -> object:
    if given.kind is Kind.CATEGORICAL:
        return given.categories[0] if given.categories else ""
    if given.shape:
        return {
            Kind.IMAGE: "<base64 of a PNG or JPEG file>",
            Kind.SEQUENCE: [0.5, None, 1.5],
            Kind.TEXT: "Some text.",
        }[given.kind]
    return {Kind.BOOLEAN: True, Kind.DATETIME: "2026-01-31T12:00:00"}.get(given.kind, 0)
