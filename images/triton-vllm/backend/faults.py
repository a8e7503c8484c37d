"""Requests that vLLM's own code stumbles over before the engine sees them: the client's fault, not an internal error.

vLLM checks a body of OpenAI's protocol with code that takes the types of its parts for granted, puts images into a
prompt with code that asserts that there are places for them, and sends what it made to the engine with code that cannot
write every number and every text. What these raise is no error of validation; where it was raised tells whose fault it
is.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

# What code raises that meets a value of another type than it expects; vLLM sees to ValueError and TypeError itself.
STUMBLES: tuple[type[Exception], ...] = (AssertionError, AttributeError, LookupError, RecursionError)
# ... and what it raises of a value that it cannot write.
UNWRITABLE: tuple[type[Exception], ...] = (OverflowError, ValueError, TypeError)
# Where FastAPI makes the typed request from the body: before that nothing of the engine has seen it.
READING_THE_BODY = ("request_body_to_args",)
# Where vLLM makes tokens of a prompt and its images, and where it writes the request for the engine.
READING_THE_PROMPT = ("process_inputs", "_send_input")
BODY_MESSAGE = "the body is not what this path takes: a parameter has the wrong type"
# What a request has that gives the engine a grammar to follow.
GRAMMARS = ("structured_outputs", "response_format", "text")
GRAMMAR_MESSAGE = (
    "the engine gave the request up: the grammar of 'structured_outputs' or 'response_format' passes the check of its "
    "form, but does not compile, or nothing that the model may say follows it"
)
# How an event of a stream begins, and one that tells an error.
EVENT = "data: "
FAULT = EVENT + '{"error":'
# vLLM writes the name of a model that it does not serve, as the client gave it, at a level that is always shown.
TALE = "Error with model"


def refuse_broken_requests(application: Any) -> None:
    """Have vLLM's application answer 400 for such requests, and keep what they say out of the log."""
    from vllm.exceptions import GenerationError
    from vllm.v1.engine.exceptions import EngineGenerateError

    for kind in STUMBLES:
        application.add_exception_handler(kind, _refuse_body)
    for kind, fault in ((EngineGenerateError, _unreadable), (GenerationError, _wrong_grammar)):
        application.add_exception_handler(kind, _Handler(fault, application.exception_handlers))
    # Something that the application loads has already made what calls the handlers.
    application.middleware_stack = application.build_middleware_stack()
    for handler in logging.getLogger("vllm").handlers:
        handler.addFilter(tells_no_request)


async def _refuse_body(_request: Any, error: Exception) -> Any:
    if not raised_in(READING_THE_BODY, error):
        raise error
    return _refusal(BODY_MESSAGE)


class _Handler:
    """Answers what is the client's fault by ``fault``, which says what that is; all else is left to vLLM's handler."""

    def __init__(self, fault: Callable[[Any, Exception], Awaitable[str]], handlers: dict[Any, Any]) -> None:
        from vllm.exceptions import VLLMError

        self._fault = fault
        self._otherwise = handlers[VLLMError]

    async def __call__(self, request: Any, error: Exception) -> Any:
        message = await self._fault(request, error)
        return _refusal(message) if message else await self._otherwise(request, error)


async def _unreadable(_request: Any, error: Exception) -> str:
    """Of what the engine's ``generate`` raises."""
    return unreadable_request(error)


async def _wrong_grammar(request: Any, error: Exception) -> str:
    """Of what is raised when the engine has ended a request without a word."""
    if getattr(error, "status_code", 500) != 500:
        return ""  # the same request may be answered when it is sent again
    # FastAPI has read the body: this waits for nobody.
    return GRAMMAR_MESSAGE if has_grammar(await request.json()) else ""


def has_grammar(body: Any) -> bool:
    """Whether a request gives the engine a grammar to follow."""
    return isinstance(body, dict) and any(body.get(name) is not None for name in GRAMMARS)


async def blame_grammar(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events of a stream whose request has a grammar: vLLM's own fault in it becomes the grammar's."""
    async for event in events:
        yield f"{EVENT}{json.dumps(_told(GRAMMAR_MESSAGE))}\n\n" if _is_fault(event) else event


def _is_fault(event: str) -> bool:
    return event.startswith(FAULT) and bool(json.loads(event.removeprefix(EVENT))["error"]["code"] == 500)


def _refusal(message: str) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(_told(message), status_code=400)


def _told(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}


def unreadable_request(error: Exception) -> str:
    """What made the engine's ``generate`` raise before the engine saw the request; "" when it was something else."""
    cause = error.__cause__
    if cause is None or not isinstance(cause, (*STUMBLES, *UNWRITABLE)) or not raised_in(READING_THE_PROMPT, cause):
        return ""
    if isinstance(cause, UNWRITABLE):
        return f"a parameter is too large, or text that is not Unicode: {type(cause).__name__}"
    return f"the prompt cannot be read, with a placeholder for each image: {type(cause).__name__}: {cause}"


def raised_in(functions: tuple[str, ...], error: BaseException) -> bool:
    """Whether a function of one of these names was running when ``error`` was raised."""
    return any(frame.name in functions for frame in traceback.extract_tb(error.__traceback__))


def tells_no_request(record: logging.LogRecord) -> bool:
    """Whether a line may be logged."""
    return not str(record.msg).startswith(TALE)
