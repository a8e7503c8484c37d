"""Errors that become the answer to one request."""

from __future__ import annotations


class RequestError(Exception):
    """A request that cannot be served. `code` is the name of a TRITONSERVER_Error code (HTTP status beside it)."""

    code = "INTERNAL"  # 500


class BadRequest(RequestError):
    """The client's fault: the message names the parameter and what is allowed."""

    code = "INVALID_ARG"  # 400


class Unavailable(RequestError):
    """The engine is dead or the server is going away."""

    code = "UNAVAILABLE"  # 503


class Cancelled(RequestError):
    """The client went away, or the server stopped waiting."""

    code = "CANCELLED"  # 499 of gRPC's CANCELLED; HTTP clients are gone by then
