"""A shorter way from the body of a request to vLLM's code for the paths that generate.

FastAPI looks for the route among all of them, solves its dependencies and parses the content type as that of an e-mail:
a tenth of what the front end does for a request. vLLM's functions behind its routes need a typed request and the raw
one, no more. Whatever is not plainly right goes FastAPI's way, so every error is the one that it would be without this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

from backend.faults import blame_grammar, has_grammar
from backend.gate import CHAT, COMPLETIONS

SHORTENED = (CHAT, COMPLETIONS)


def shorten(application: Any) -> None:
    """Put a short way before each route of vLLM's application that most requests take."""
    from starlette.routing import Route

    routes = application.router.routes
    ways = [ShortWay(route) for route in routes if getattr(route, "path", None) in SHORTENED]
    routes[:0] = [Route(way.path, way.answer, methods=["POST"]) for way in ways]


class ShortWay:
    """Answers as ``route``, one of FastAPI's, does."""

    def __init__(self, route: Any) -> None:
        self.path: str = route.path
        self._route = route
        self._answer: Callable[[Any, Any], Awaitable[Any]] = route.endpoint
        self._type: Any = get_type_hints(route.endpoint)["request"]

    async def answer(self, raw: Any) -> Any:
        """The response to a Starlette request."""
        from starlette.responses import Response

        if raw.headers.get("content-type", "").partition(";")[0].lower() != "application/json":
            return _LongWay(self._route, await raw.body())
        try:
            typed = self._type.model_validate(await raw.json())
        except Exception:  # noqa: BLE001 - FastAPI meets it again, and vLLM's handlers say what it is
            return _LongWay(self._route, await raw.body())
        response = await self._answer(typed, raw)
        if response is None:  # the client has left
            return Response(status_code=499)
        if hasattr(response, "body_iterator") and has_grammar(await raw.json()):
            response.body_iterator = blame_grammar(response.body_iterator)
        return response


class _LongWay:
    """What FastAPI makes of a request whose body has been read."""

    def __init__(self, route: Any, body: bytes) -> None:
        self._route = route
        self._body: bytes | None = body

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        async def again() -> Any:
            if self._body is None:
                return await receive()
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}

        await self._route.handle(scope, again, send)
