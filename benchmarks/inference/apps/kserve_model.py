"""KServe's Python server: one worker, Open Inference Protocol, JSON and binary."""

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.logging import KSERVE_LOG_CONFIG
from network import NAME, OUTPUT, PORT, Network


class Onnx(Model):
    def load(self) -> bool:
        self.network = Network()
        self.ready = True
        return True

    async def predict(
        self, payload: InferRequest, headers: object = None, response_headers: object = None
    ) -> InferResponse:
        found = self.network(payload.inputs[0].as_numpy())
        output = InferOutput(OUTPUT, list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=bool(payload.parameters))
        return InferResponse(payload.id or "", NAME, [output])


if __name__ == "__main__":
    model = Onnx(NAME)
    model.load()
    KSERVE_LOG_CONFIG["loggers"]["uvicorn.access"]["level"] = "WARNING"  # no line per request
    server = ModelServer(http_port=PORT, enable_grpc=False, workers=1, enable_latency_logging=False)
    server.start([model])
