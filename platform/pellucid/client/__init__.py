"""A typed client of the REST API, for scripts and for the CLI.

    from pellucid.client import Client

    with Client("http://127.0.0.1:8000") as client:
        dataset = client.datasets.add(Path("credit.csv"), name="credit", roles={"bad": "target"})
        job = client.jobs.submit({"name": "credit", "data": {"dataset": "credit"}})
        client.jobs.wait(job.id)
        print(client.predict("credit", [{"age": 41, "purpose": "car"}]).predictions[0].label)

Every call raises the error that the service answered with, from `pellucid.errors`, and
`Unavailable` when nothing answers. Calls may be repeated: nothing is lost, nothing is doubled.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from pellucid.client.alerts import Alerts
from pellucid.client.connection import Connection, as_json, given, segment
from pellucid.client.datasets import Datasets
from pellucid.client.jobs import Jobs
from pellucid.client.models import Models
from pellucid.client.monitoring import Monitoring
from pellucid.monitoring.feedback.receipts import FeedbackReceipt
from pellucid.resources.counterfactuals import Counterfactuals
from pellucid.resources.explanations import ExplainedPredictions
from pellucid.resources.predictions import LoggedPrediction, Predictions

__all__ = ["Client"]

_ARROW = "application/vnd.apache.arrow.stream"
_LONG = httpx.Timeout(600, connect=5)  # a million labels are joined before the answer


class Client:
    """A connection to one service.

    Args:
        url: of the service, such as http://127.0.0.1:8000.
        api_key: sent as a bearer token; needed where the service has keys.
        transport: for tests: where requests go instead of the network.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(url, api_key, transport)
        self.url = self._connection.url
        self.alerts = Alerts(self._connection)
        self.datasets = Datasets(self._connection)
        self.jobs = Jobs(self._connection)
        self.models = Models(self._connection)
        self.monitoring = Monitoring(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def info(self) -> dict[str, Any]:
        """The service's version, device, MLflow address and database state."""
        return dict(self._connection.send("GET", "/v1/info").json())

    def predict(
        self, model: str, rows: list[dict[str, Any]], version: int | None = None
    ) -> Predictions:
        """Predictions for rows of raw columns, by the champion or by a certain version.

        An image is the bytes of its file, or an array of pixels; a sequence is a list or an array
        of numbers; a text is a string.
        """
        path = f"/v1/models/{segment(model)}"
        path += f"/versions/{version}/predict" if version else "/predict"
        sent = [_as_sent(row) for row in rows]
        return self._connection.fetch(Predictions, "POST", path, json=sent)

    def explain(
        self,
        model: str,
        rows: list[dict[str, Any]],
        version: int | None = None,
        *,
        reference: dict[str, Any] | None = None,
        output: str | None = None,
        contrast: str | None = None,
        top_k: int | None = None,
        method: str | None = None,
        superpixels: int | None = None,
        predicting: bool = False,
    ) -> ExplainedPredictions:
        """Predictions with their SHAP values, for rows as `predict` takes them.

        Args:
            model: its name.
            rows: raw columns.
            version: of the model; None: the champion.
            reference: a row that the others are compared to; None: the model's background.
            output: the class, or the output of a regression, to explain.
            contrast: a class that is subtracted from that one.
            top_k: so many columns one by one, the rest summed up.
            method: amortized, where the version has it; None: the version's own.
            superpixels: about how many parts of an image to sum up.
            predicting: record the answers as predictions, with ids.
        """
        path = f"/v1/models/{segment(model)}"
        path += f"/versions/{version}" if version else ""
        params = given(
            **{"class": output}, contrast=contrast, top_k=top_k, method=method,
            superpixels=superpixels, explain=True if predicting else None,
        )  # fmt: skip
        body: dict[str, Any] = {"rows": [_as_sent(row) for row in rows]}
        if reference is not None:
            body["reference"] = _as_sent(reference)
        path += "/predict" if predicting else "/explain"
        return self._connection.fetch(ExplainedPredictions, "POST", path, params=params, json=body)

    def predict_table(
        self, model: str, table: Any, version: int | None = None, *, text: bool = False
    ) -> Any:
        """Predictions for the rows of a pyarrow.Table, as a pyarrow.Table.

        Its columns: `prediction_id`; `label` and `probability_CLASS`, or `value`; of a model that
        was made elsewhere its outputs. The schema's metadata name model and version.

        Args:
            model: its name.
            table: the model's raw columns.
            version: of the model; None: the champion.
            text: all columns are strings, to be read as the cells of a CSV.
        """
        import pyarrow as pa
        from pyarrow import csv

        if text:
            sink = pa.BufferOutputStream()
            csv.write_csv(table, sink)
            content = sink.getvalue().to_pybytes()
        else:
            content = _stream(table)
        path = f"/v1/models/{segment(model)}"
        path += f"/versions/{version}/predict" if version else "/predict"
        headers = {"Content-Type": "text/csv" if text else _ARROW, "Accept": _ARROW}
        response = self._connection.send("POST", path, content=content, headers=headers)
        return pa.ipc.open_stream(response.content).read_all()

    def counterfactuals(
        self,
        model: str,
        rows: list[dict[str, Any]],
        version: int | None = None,
        *,
        desired: int | str | dict[str, Any] | None = None,
        frozen: Sequence[str] = (),
        constraints: Mapping[str, Mapping[str, Any]] | None = None,
        count: int = 1,
    ) -> Counterfactuals:
        """The smallest changes of rows that change the decision, verified by the model.

        Args:
            model: its name.
            rows: as for predictions.
            version: of the model; None: the champion.
            desired: a class, {"class": ..., "probability": ...}, or of values {"at_least": ...,
                "at_most": ...}; None: any other class.
            frozen: columns that stay as they are.
            constraints: column -> change, low, high; besides those of the model's plan.
            count: most counterfactuals of each row.
        """
        path = f"/v1/models/{segment(model)}"
        path += f"/versions/{version}/counterfactuals" if version else "/counterfactuals"
        asked = {
            "rows": [{name: as_json(value) for name, value in row.items()} for row in rows],
            "desired": desired,
            "frozen": list(frozen),
            "constraints": {name: dict(each) for name, each in (constraints or {}).items()},
            "count": count,
        }
        return self._connection.fetch(Counterfactuals, "POST", path, json=asked)

    def prediction(self, prediction_id: str) -> LoggedPrediction:
        """An answered prediction, from the prediction log."""
        path = f"/v1/predictions/{segment(prediction_id)}"
        return self._connection.fetch(LoggedPrediction, "GET", path)

    def feedback(self, labels: "Mapping[str, Any] | Any", *, source: str = "") -> FeedbackReceipt:
        """Tell what turned out to be true of predictions.

        Args:
            labels: prediction id -> label; or a pyarrow.Table with the columns id and label.
            source: where they come from, kept with them.
        """
        params = given(source=source or None)
        if isinstance(labels, Mapping):
            rows = [{"id": each, "label": as_json(label)} for each, label in labels.items()]
            sent: dict[str, Any] = {"json": rows[0] if len(rows) == 1 else rows}
        else:
            sent = {"content": _stream(labels), "headers": {"Content-Type": _ARROW}}
        return self._connection.fetch(
            FeedbackReceipt, "POST", "/v1/feedback", params=params, timeout=_LONG, **sent
        )


def _stream(table: Any) -> bytes:
    """A pyarrow.Table as an Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _as_sent(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_json(value) for name, value in row.items()}
