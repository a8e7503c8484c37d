"""A gRPC stream of Triton's own client."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import tritonclient.grpc as client

from testing.server import Server


class GrpcStream:
    """A stream of tritonclient and what came over it."""

    def __init__(self, server: Server) -> None:
        self.answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self.channel = client.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
        self.channel.start_stream(lambda result, error: self.answers.put((result, error)))

    def __enter__(self) -> GrpcStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, **values: Any) -> None:
        """Text as BYTES, booleans as BOOL."""
        inputs = []
        for name, value in values.items():
            kind = np.array([value]) if isinstance(value, bool) else np.array([str(value).encode()], dtype=np.object_)
            tensor = client.InferInput(name, [1], "BOOL" if isinstance(value, bool) else "BYTES")
            tensor.set_data_from_numpy(kind)
            inputs.append(tensor)
        self.channel.async_stream_infer("llm", inputs, enable_empty_final_response=True)

    def collect(self) -> list[Any]:
        """Answers up to and with the final one."""
        found = []
        while True:
            result, error = self.answers.get(timeout=60)
            assert error is None, error
            found.append(result)
            if result.get_response().parameters["triton_final_response"].bool_param:
                return found

    def close(self) -> None:
        """Leave; what still runs is cancelled."""
        self.channel.stop_stream(cancel_requests=True)
        self.channel.close()
