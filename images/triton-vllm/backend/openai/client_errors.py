"""Requests on which vLLM's own code fails before the engine sees them: the client's error, not an internal one.

vLLM checks a body of OpenAI's protocol with code that takes the types of its parts for granted, puts images into a
prompt with code that asserts that there are places for them, and sends the result to the engine with code that cannot
encode every number and every string. None of these raises a validation error; the function that raised shows whether
the request was at fault.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from backend.patches import middleware_stack
from backend.patches.upstream import Target, Upstream

# What code raises for a value of a type that it does not expect; vLLM handles ValueError and TypeError itself.
CLIENT_EXCEPTIONS: tuple[type[Exception], ...] = (AssertionError, AttributeError, LookupError, RecursionError)
# ... and for a value that it cannot encode.
ENCODING_EXCEPTIONS: tuple[type[Exception], ...] = (OverflowError, ValueError, TypeError)
# The function in which FastAPI builds the typed request from the body: nothing of the engine has seen it before.
BODY_FUNCTIONS = ("request_body_to_args",)
# Those in which vLLM makes tokens of a prompt and its images, and encodes the request for the engine.
PROMPT_FUNCTIONS = ("process_inputs", "_send_input")
BODY_MESSAGE = "the body is invalid: a parameter has the wrong type"
# Parameters that give the engine a grammar to follow.
GRAMMARS = ("structured_outputs", "response_format", "text")
GRAMMAR_MESSAGE = (
    "the engine rejected the grammar of 'structured_outputs' or 'response_format': its syntax is valid, but it does "
    "not compile, or no output of the model can match it"
)
# How an event of a stream begins, and one that holds an error.
EVENT = "data: "
ERROR_EVENT = EVENT + '{"error":'
# vLLM logs the name of a model that it does not serve, as the client gave it, at a level that is always shown.
LOG_PREFIX = "Error with model"
# ... and, for a request of Anthropic's protocol, every error with its traceback, also one that is the client's.
MESSAGES_LOG_PREFIXES = ("Error in create_messages", "Error in count_tokens")
UPSTREAM = Upstream(
    (
        Target("fastapi.dependencies.utils", BODY_FUNCTIONS[0]),
        Target("vllm.v1.engine.input_processor", f"InputProcessor.{PROMPT_FUNCTIONS[0]}"),
        Target("vllm.v1.engine.core_client", f"AsyncMPClient.{PROMPT_FUNCTIONS[1]}"),
        Target("vllm.exceptions", "GenerationError"),
        Target("vllm.exceptions", "VLLMError"),
        Target("vllm.v1.engine.exceptions", "EngineGenerateError"),
        Target(
            "vllm.entrypoints.openai.chat_completion.serving",
            source=(f"logger.error('{LOG_PREFIX} %s', error_check_ret)",),
        ),
        *(
            Target(
                "vllm.entrypoints.anthropic.api_router",
                prefix.removeprefix("Error in "),
                source=(f"logger.exception('{prefix}: %s', e)",),
            )
            for prefix in MESSAGES_LOG_PREFIXES
        ),
    )
)


def register_handlers(application: Any) -> None:
    """Have vLLM's application answer 400 for such requests, and keep what clients send out of the log."""
    from starlette.exceptions import HTTPException
    from vllm.exceptions import GenerationError
    from vllm.v1.engine.exceptions import EngineGenerateError

    for kind in CLIENT_EXCEPTIONS:
        application.add_exception_handler(kind, _reject_body)
    application.add_exception_handler(NotImplementedError, _reject_unsupported)
    application.add_exception_handler(HTTPException, _reject_as_openai)
    for kind, find in ((EngineGenerateError, _prompt_error), (GenerationError, _grammar_error)):
        application.add_exception_handler(kind, _Handler(find, application.exception_handlers))
    middleware_stack.rebuild(application)
    for handler in logging.getLogger("vllm").handlers:
        handler.addFilter(holds_no_request)


async def _reject_body(_request: Any, error: Exception) -> Any:
    if not raised_in(BODY_FUNCTIONS, error):
        raise error
    return _bad_request(BODY_MESSAGE)


async def _reject_unsupported(_request: Any, error: Exception) -> Any:
    """What vLLM does not implement is what a client must not ask for: a 5xx would be sent again."""
    return _bad_request(str(error) or "the request asks for something that vLLM does not implement")


async def _reject_as_openai(_request: Any, error: Any) -> Any:
    """What FastAPI itself answers has its own form."""
    return _bad_request(str(error.detail), error.status_code)


class _Handler:
    """Answers 400 with the message of `find`; an error for which it returns "" goes to vLLM's own handler."""

    def __init__(self, find: Callable[[Any, Exception], Awaitable[str]], handlers: dict[Any, Any]) -> None:
        from vllm.exceptions import VLLMError

        self._find = find
        self._otherwise = handlers[VLLMError]

    async def __call__(self, request: Any, error: Exception) -> Any:
        message = await self._find(request, error)
        return _bad_request(message) if message else await self._otherwise(request, error)


async def _prompt_error(_request: Any, error: Exception) -> str:
    """Message for an error that the engine's `generate` raised."""
    return unreadable_request(error)


async def _grammar_error(request: Any, error: Exception) -> str:
    """Message for the error that is raised when the engine ended a request without output."""
    if getattr(error, "status_code", 500) != 500:
        return ""  # the same request may succeed when it is sent again
    # FastAPI has read the body: this does not wait.
    return GRAMMAR_MESSAGE if has_grammar(await request.json()) else ""


def has_grammar(body: Any) -> bool:
    """Return whether the body of a request gives the engine a grammar to follow."""
    return isinstance(body, dict) and any(body.get(name) is not None for name in GRAMMARS)


def filter_stream(body: Any, events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Return the events of the answer to `body`, with errors of its grammar attributed to it."""
    return attribute_to_grammar(events) if has_grammar(body) else events


async def attribute_to_grammar(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield the events of a stream whose request has a grammar: vLLM's internal error in it becomes the grammar's."""
    async for event in events:
        yield f"{EVENT}{json.dumps(_error_body(GRAMMAR_MESSAGE))}\n\n" if _is_internal_error(event) else event


def _is_internal_error(event: str) -> bool:
    return event.startswith(ERROR_EVENT) and bool(json.loads(event.removeprefix(EVENT))["error"]["code"] == 500)


def _bad_request(message: str, status: int = 400) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(_error_body(message, status), status_code=status)


def _error_body(message: str, status: int = 400) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


def unreadable_request(error: Exception) -> str:
    """Return why the engine's `generate` raised before the engine saw the request; "" when it was something else."""
    cause = error.__cause__
    known = (*CLIENT_EXCEPTIONS, *ENCODING_EXCEPTIONS)
    if cause is None or not isinstance(cause, known) or not raised_in(PROMPT_FUNCTIONS, cause):
        return ""
    if isinstance(cause, ENCODING_EXCEPTIONS):
        return f"a parameter is too large, or a string is not valid Unicode: {type(cause).__name__}"
    return f"invalid prompt; it needs a placeholder for each image: {type(cause).__name__}: {cause}"


def raised_in(functions: tuple[str, ...], error: BaseException) -> bool:
    """Return whether a function of one of these names was running when `error` was raised."""
    return any(frame.name in functions for frame in traceback.extract_tb(error.__traceback__))


def holds_no_request(record: logging.LogRecord) -> bool:
    """Return whether a log record may be written: it holds nothing that a client sent."""
    if str(record.msg).startswith(MESSAGES_LOG_PREFIXES):
        return record.exc_info is None or not _is_clients(record.exc_info[1])
    return not str(record.msg).startswith(LOG_PREFIX)


def _is_clients(error: BaseException | None) -> bool:
    """Return whether vLLM answers an error with a status of the client's fault."""
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, ENCODING_EXCEPTIONS) or "VLLMClientError" in names
