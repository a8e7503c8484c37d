"""Sends a case to a server and says what came back."""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2

from fuzz.cases import Case
from testing.server import Server

PATIENCE_SECONDS = 60.0
KEPT_BYTES = 4096
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True, slots=True)
class Outcome:
    """An HTTP status or the name of a gRPC code; "" when the server closed the connection, `hang` when it did not."""

    code: str
    text: str


class Doors:
    """The ports of one server."""

    def __init__(self, server: Server) -> None:
        self._ports = {"http": server.http_port, "openai": server.front_port}
        self._channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")

    def send(self, case: Case) -> Outcome:
        """Send it and wait for the answer, if the client stays for it."""
        wire = case.wire.encode("latin-1")
        return self._grpc(case, wire) if case.door == "grpc" else self._http(case, wire)

    def close(self) -> None:
        """Close what is kept open."""
        self._channel.close()

    def _http(self, case: Case, wire: bytes) -> Outcome:
        with socket.create_connection(("127.0.0.1", self._ports[case.door]), PATIENCE_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(wire)
                if case.leave:
                    return Outcome("", "left")
                if not case.sound:
                    # An invalid request may have no end.
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
            return _read(connection)

    def _grpc(self, case: Case, wire: bytes) -> Outcome:
        stream = case.method.endswith("StreamInfer")
        make = self._channel.stream_stream if stream else self._channel.unary_unary
        call = make(case.method, request_serializer=lambda data: data, response_deserializer=lambda data: data)
        metadata = [(name, _value(name, text)) for name, text in case.metadata.items()]
        try:
            if not stream:
                return Outcome("OK", str(len(call(wire, timeout=PATIENCE_SECONDS, metadata=metadata))))
            answers = list(call(iter([wire]), timeout=PATIENCE_SECONDS, metadata=metadata))
            errors = [service_pb2.ModelStreamInferResponse.FromString(answer).error_message for answer in answers]
            return Outcome("OK", "".join(errors)[:KEPT_BYTES])
        except grpc.RpcError as error:
            code = error.code()
            name = "hang" if code is grpc.StatusCode.DEADLINE_EXCEEDED else code.name
            return Outcome(name, str(error.details())[:KEPT_BYTES])


def _value(name: str, text: str) -> str | bytes:
    """What goes with a call: bytes for names that end so."""
    return text.encode() if name.endswith("-bin") else text


def _read(connection: socket.socket) -> Outcome:
    """The first status that is not 1xx, and the beginning of the body."""
    data, codes = b"", [""]
    try:
        while part := connection.recv(65536):
            data = (data + part)[: 4 * KEPT_BYTES]
            codes = [code.decode() for code in STATUS.findall(data) if not code.startswith(b"1")] or [""]
            if codes[0] and (codes[0] < "500" or data.rstrip().endswith(b"}")):
                return Outcome(codes[0], data[:KEPT_BYTES].decode(errors="replace"))
    except ConnectionError as error:
        return Outcome("", str(error))
    except TimeoutError:
        return Outcome(codes[0] or "hang", data[:KEPT_BYTES].decode(errors="replace"))
    return Outcome(codes[0], data[:KEPT_BYTES].decode(errors="replace"))
