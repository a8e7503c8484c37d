"""vLLM's own OpenAI server over the engine of this process.

It is on when the model's folder has `openai.json`, whose keys are the arguments of vLLM's server
(`tool_call_parser`, `chat_template`, ...). An API key comes from the environment: `VLLM_API_KEY`.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from backend.engine.sampling_parameters import SamplingRules
from backend.openai import client_errors, media
from backend.openai.fields import unknown_are_allowed
from backend.openai.middleware import (
    CHAT,
    COMPLETIONS,
    MESSAGES,
    MODELS,
    RESPONSES,
    BodyRules,
    OpenAIMiddleware,
)
from backend.patches import direct_routes, finite_json, middleware_stack
from backend.settings import BadModel, ModelSettings, closest
from contract import files
from contract.media import DOMAINS_ARGUMENT, MediaHosts

logger = logging.getLogger("triton_vllm")

COUNT_TOKENS = f"{MESSAGES}/count_tokens"
# A request that sets no parameter, for each path.
SILENT: Mapping[str, Mapping[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hello"}]},
    COMPLETIONS: {"prompt": "Hello"},
    RESPONSES: {"input": "Hello"},
    MESSAGES: {"model": "x", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]},
}
# Fields of requests whose objects have keys for the model's template, or for other servers.
CLIENTS_OWN = frozenset({"messages", "input", "tools", "tool_choice", "data", "documents", "query", "metadata"})
# What clients may reach, where the model's task has it. vLLM's application has more, such as scaling the engine.
OPEN = frozenset(
    {
        CHAT,
        COMPLETIONS,
        RESPONSES,
        MESSAGES,
        COUNT_TOKENS,
        "/v1/embeddings",
        "/v2/embed",
        "/pooling",
        "/classify",
        "/score",
        "/v1/score",
        "/rerank",
        "/v1/rerank",
        "/v2/rerank",
        MODELS,
        "/tokenize",
        "/detokenize",
    }
)


async def build_application(
    engine: Any,
    arguments: Any,
    namespace: argparse.Namespace,
    settings: ModelSettings,
    tasks: tuple[str, ...],
    rules: SamplingRules,
) -> OpenAIMiddleware:
    """The ASGI application. `arguments`: the engine's; `namespace`: what `server_arguments` made."""
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state

    media.install(os.environ)
    finite_json.install()
    # The engine's start has written into its arguments; what model.json has as an object is still one there.
    vars(namespace).update({**_engine_values(arguments), "served_model_name": namespace.served_model_name})
    namespace.structured_outputs_config = engine.vllm_config.structured_outputs_config
    application = make_application(namespace, tasks, engine.model_config)
    await init_app_state(engine, application.state, namespace, tasks)
    client_errors.register_handlers(application)
    requests = {} if unknown_are_allowed() else _requests(application.router.routes)
    bodies = BodyRules(
        _request_fields(),
        rules,
        settings.sampling,
        {path: frozenset(name for each in models for name in _names(each)) for path, models in requests.items()},
        {path: dict(_inner(models)) for path, models in requests.items()},
        sees=engine.model_config.is_multimodal_model,
        has_tools=namespace.tool_server is not None,
    )
    for path in bodies.names:
        if left_out := bodies.left_out(path):
            logger.warning("requests of %s have no field %s: %s does not apply to them", path, left_out, files.SAMPLING)
    _try_defaults(bodies, settings)
    paths = OPEN & {getattr(route, "path", "") for route in application.router.routes}
    admits, cross_origin = _admits(namespace), _cross_origin(namespace)
    return OpenAIMiddleware(application, paths, bodies, settings.limits, admits, cross_origin, OPEN)


def make_application(namespace: argparse.Namespace, tasks: tuple[str, ...], model_config: Any) -> Any:
    """vLLM's application without its unused middleware; the caller still has its stack of middleware built."""
    from vllm.entrypoints.launchers.app import build_app

    application = build_app(namespace, tasks, model_config)
    middleware_stack.install(application)
    direct_routes.install(application, (CHAT, COMPLETIONS), client_errors.filter_stream)
    return application


def _engine_values(arguments: Any) -> dict[str, Any]:
    return {field.name: getattr(arguments, field.name) for field in dataclasses.fields(arguments)}


def _try_defaults(bodies: BodyRules, settings: ModelSettings) -> None:
    """Raises BadModel for defaults or a profile that would have a request without parameters rejected."""
    from pydantic import ValidationError

    for path, request in _request_types().items():
        for profile in (None, *settings.sampling.profiles):
            try:
                request.model_validate({**SILENT[path], **bodies.defaults(path, profile)})
            except ValidationError as error:
                where = "defaults" if profile is None else f"profile {profile!r}"
                first = error.errors()[0]
                name = ".".join(map(str, first["loc"]))
                raise BadModel(f"{files.SAMPLING}: {where}: {path} rejects {name}: {first['msg']}") from None


def _request_fields() -> dict[str, frozenset[str]]:
    """What requests that generate may say: path -> names."""
    return {path: frozenset(request.model_fields) for path, request in _request_types().items()}


def _requests(routes: Iterable[Any]) -> dict[str, list[Any]]:
    """The classes of requests: path of `OPEN` -> one, or those of a union.

    Without Anthropic's: its clients send fields for features that only Anthropic's own models have.
    """
    found: dict[str, list[Any]] = {}
    for route in routes:
        if getattr(route, "path", None) in OPEN - {MESSAGES, COUNT_TOKENS}:
            found[route.path] = list(_models(typing.get_type_hints(route.endpoint).get("request")))
    return {path: models for path, models in found.items() if models}


def _inner(models: Iterable[Any], place: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Keys of the objects in requests of these classes: place -> keys. Without those that are the client's own."""
    fields: dict[str, list[Any]] = {}
    for model in models:
        for name, field in model.model_fields.items():
            if name not in CLIENTS_OWN:
                fields.setdefault(field.alias or name, []).extend(_objects(field.annotation))
    for name, found in fields.items():
        if found and dict not in found:
            here = f"{place}{name}"
            yield here, frozenset(key for each in found for key in _keys(each))
            yield from _inner((each for each in found if hasattr(each, "model_fields")), f"{here}.")


def _objects(hint: Any) -> Iterator[Any]:
    """What an object may be by a type: classes of pydantic, dataclasses, `dict` for one with any keys."""
    if hasattr(hint, "model_fields") or dataclasses.is_dataclass(hint) or hint is dict:
        yield hint
    elif typing.get_origin(hint) is dict:
        yield dict
    elif typing.get_origin(hint) not in (list, tuple, set):
        for part in typing.get_args(hint):
            yield from _objects(part)


def _keys(found: Any) -> Iterator[str]:
    if hasattr(found, "model_fields"):
        yield from _names(found)
    else:
        yield from (each.name for each in dataclasses.fields(found) if each.init)


def _models(hint: Any) -> Iterator[Any]:
    """The classes of requests in a type: one, or those of a union."""
    if hasattr(hint, "model_fields"):
        yield hint
    for part in typing.get_args(hint):
        yield from _models(part)


def _names(request: Any) -> Iterator[str]:
    for name, field in request.model_fields.items():
        yield from filter(None, (name, field.alias))


def _request_types() -> dict[str, Any]:
    from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

    return {
        CHAT: ChatCompletionRequest,
        COMPLETIONS: CompletionRequest,
        RESPONSES: ResponsesRequest,
        MESSAGES: AnthropicMessagesRequest,
    }


def _admits(namespace: argparse.Namespace) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a request has the key. vLLM asks for it below /v1 only; here every path of its server needs it."""
    from starlette.datastructures import Headers
    from vllm import envs
    from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware

    keys = [key for key in (namespace.api_key or [envs.VLLM_API_KEY]) if key]
    if not keys:
        return lambda _: True
    guard = AuthenticationMiddleware(None, keys)
    return lambda scope: scope["method"] == "OPTIONS" or guard.verify_token(Headers(scope=scope))


def _cross_origin(namespace: argparse.Namespace) -> Callable[[Any], Any]:
    """Makes an application answer other origins as vLLM's own does, which does so only for what it answers itself."""
    from starlette.middleware.cors import CORSMiddleware

    return partial(
        CORSMiddleware,
        allow_origins=namespace.allowed_origins,
        allow_credentials=namespace.allow_credentials,
        allow_methods=namespace.allowed_methods,
        allow_headers=namespace.allowed_headers,
    )


def _aliases(given: Any, name: str) -> list[str]:
    """The other names of the served model, from the engine's `served_model_name`: vLLM takes one or a list."""
    return [each for each in ([given] if isinstance(given, str) else given or []) if each != name]


def server_arguments(
    arguments: Any, settings: Mapping[str, Any], name: str, loras: Mapping[str, str]
) -> argparse.Namespace:
    """Arguments as vLLM's own command line makes them: its defaults, the engine's values, then `settings`.

    `arguments`: the engine's; `name`: the served model's. Raises BadModel.
    """
    from vllm.entrypoints.launchers.cli_args import FrontendArgs, make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        MediaHosts.parse(arguments.allowed_media_domains or ())
    except ValueError as error:
        raise BadModel(f"{files.ENGINE}: {DOMAINS_ARGUMENT}: {error}") from None
    known = {field.name for field in dataclasses.fields(FrontendArgs)}
    for key in settings:
        if key not in known:
            raise BadModel(f"{files.OPENAI}: unknown argument '{key}'{closest(key, known)} of vLLM's server")
    namespace: argparse.Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    values = {
        **_engine_values(arguments),
        "served_model_name": [name, *_aliases(arguments.served_model_name, name)],
        "lora_modules": [LoRAModulePath(key, loras[key]) for key in loras],
    }
    vars(namespace).update({**values, "disable_fastapi_docs": True, **settings})
    try:
        validate_parsed_serve_args(namespace)
    except (TypeError, ValueError) as error:
        raise BadModel(f"{files.OPENAI}: {error}") from None
    parser, parsers = namespace.tool_call_parser, ToolParserManager.list_registered()
    if parser is not None and parser not in parsers:
        raise BadModel(f"{files.OPENAI}: unknown tool_call_parser {parser!r}; there are {', '.join(sorted(parsers))}")
    return namespace
