"""Usage: python -m bench.peers.adapter_fastapi PORT. The server of a typical tutorial.

One model, one request at a time in each of its threads.
"""

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bench.peers.served_model import open_model

app = FastAPI()
model = open_model()


class Row(BaseModel):
    values: list[float]


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/predict")
def predict(row: Row) -> dict[str, list[float]]:
    return {"output": model(np.array([row.values], np.float32))[0].tolist()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
