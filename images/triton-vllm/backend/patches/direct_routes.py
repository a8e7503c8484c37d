"""Call vLLM's functions behind its routes directly, without FastAPI.

Changes: puts a plain Starlette route before each route of vLLM's application that generates.

Why: FastAPI looks for the route among all of them, solves its dependencies and parses the content type as that of an
e-mail: a tenth of what the front end does per request. vLLM's functions need a typed request and the raw one, no more.
A request that is not plainly valid takes FastAPI's way, so every error is the same as without this patch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, get_type_hints

from backend.patches.upstream import Target, Upstream

# Given the body of a request and the events of its answer, returns the events to send.
StreamFilter = Callable[[Any, AsyncIterator[str]], AsyncIterator[str]]
PROTOCOL = "vllm.entrypoints.openai"
UPSTREAM = Upstream(
    (
        Target(
            f"{PROTOCOL}.chat_completion.api_router", "create_chat_completion", parameters=("request", "raw_request")
        ),
        Target(f"{PROTOCOL}.completion.api_router", "create_completion", parameters=("request", "raw_request")),
        Target("starlette.routing", "Route.handle", parameters=("scope", "receive", "send")),
        Target("starlette.routing", "Router.__init__", source=("self.routes",)),
    )
)


def install(application: Any, paths: Collection[str], stream_filter: StreamFilter) -> None:
    """Put a direct route before each route of `application` whose path is in `paths`."""
    from starlette.routing import Route

    routes = application.router.routes
    direct = [DirectRoute(route, stream_filter) for route in routes if getattr(route, "path", None) in paths]
    routes[:0] = [Route(each.path, each.answer, methods=["POST"]) for each in direct]


class DirectRoute:
    """Answers as `route`, one of FastAPI's, does."""

    def __init__(self, route: Any, stream_filter: StreamFilter) -> None:
        self.path: str = route.path
        self._route = route
        self._filter = stream_filter
        self._endpoint: Callable[[Any, Any], Awaitable[Any]] = route.endpoint
        self._type: Any = get_type_hints(route.endpoint)["request"]

    async def answer(self, raw: Any) -> Any:
        """Return the response to a Starlette request."""
        from starlette.responses import Response

        if raw.headers.get("content-type", "").partition(";")[0].lower() != "application/json":
            return _ByFastAPI(self._route, await raw.body())
        try:
            typed = self._type.model_validate(await raw.json())
        except Exception:  # noqa: BLE001 - FastAPI meets it again, and vLLM's handlers answer it
            return _ByFastAPI(self._route, await raw.body())
        response = await self._endpoint(typed, raw)
        if response is None:  # the client has disconnected
            return Response(status_code=499)
        if hasattr(response, "body_iterator"):
            response.body_iterator = self._filter(await raw.json(), response.body_iterator)
        return response


class _ByFastAPI:
    """FastAPI's response to a request whose body has been read."""

    def __init__(self, route: Any, body: bytes) -> None:
        self._route = route
        self._body: bytes | None = body

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        async def replay() -> Any:
            if self._body is None:
                return await receive()
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}

        await self._route.handle(scope, replay, send)
