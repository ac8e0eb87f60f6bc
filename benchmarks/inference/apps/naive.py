"""FastAPI and pydantic, as everyone writes it first."""

from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from network import PORT, Network
from pydantic import BaseModel

network = Network()
app = FastAPI()
Row = list[float] if len(network.shape) == 1 else list[list[list[float]]]


class Request(BaseModel):
    rows: list[Row]  # type: ignore[valid-type]


class Answer(BaseModel):
    probabilities: list[list[float]]


@app.post("/predict")
async def predict(request: Request) -> Answer:
    rows: Any = np.array(request.rows, np.float32)
    return Answer(probabilities=network(rows).tolist())


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, access_log=False, log_level="warning")
