"""vLLM's own OpenAI server over the engine of this process.

It is on when the model's folder has ``openai.json``, whose keys are the arguments of vLLM's server
(``tool_call_parser``, ``chat_template``, ...). An API key comes from the environment: ``VLLM_API_KEY``.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from backend.preflight import closest
from backend.settings import OPENAI_FILE, BadModel

# What clients may reach. vLLM's application has more, such as scaling and pausing the engine.
PATHS = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/responses",
        "/tokenize",
        "/detokenize",
    }
)


async def build_application(
    engine: Any,
    arguments: Any,
    settings: Mapping[str, Any],
    name: str,
    loras: Mapping[str, str],
    tasks: tuple[str, ...],
) -> Any:
    """The ASGI application. ``arguments``: the engine's; ``name``: the served model's. Raises BadModel."""
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app

    namespace = server_arguments(arguments, settings, name, loras)
    application = build_app(namespace, tasks, engine.model_config)
    await init_app_state(engine, application.state, namespace, tasks)
    return application


def server_arguments(
    arguments: Any, settings: Mapping[str, Any], name: str, loras: Mapping[str, str]
) -> argparse.Namespace:
    """Arguments as vLLM's own command line makes them: its defaults, the engine's values, then ``settings``."""
    from vllm.entrypoints.launchers.cli_args import FrontendArgs, make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    known = {field.name for field in dataclasses.fields(FrontendArgs)}
    for key in settings:
        if key not in known:
            raise BadModel(f"{OPENAI_FILE}: unknown argument '{key}'{closest(key, known)} of vLLM's server")
    namespace: argparse.Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    values = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(arguments)}
    values |= {"served_model_name": [name], "lora_modules": [LoRAModulePath(key, loras[key]) for key in loras]}
    vars(namespace).update({**values, "disable_fastapi_docs": True, **settings})
    try:
        validate_parsed_serve_args(namespace)
    except (TypeError, ValueError) as error:
        raise BadModel(f"{OPENAI_FILE}: {error}") from None
    return namespace
