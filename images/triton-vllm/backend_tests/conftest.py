"""One server for all the tests that do not break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.server import TINY_ENGINE, Server, running, tiny_model, write_model

# A model has further names on the OpenAI port, with a slash too.
NAMES = ["llm", "org/tiny-llama"]
TOOLS = {"tool_call_parser": "hermes", "enable_auto_tool_choice": True}
PROFILES = {"profiles": {"short": {"max_tokens": 3, "temperature": 0.0}, "long": {"max_tokens": 30}}}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real tritonserver with a real engine: a tiny Llama named `llm`, an adapter `poet`, two profiles, OpenAI."""
    folder = tmp_path_factory.mktemp("server")
    engine = {**TINY_ENGINE, "model": str(tiny_model()), "enable_lora": True, "max_lora_rank": 8}
    engine["served_model_name"] = NAMES
    # A random model would never end its blanks.
    engine["structured_outputs_config"] = {"backend": "xgrammar", "disable_any_whitespace": True}
    write_model(
        folder / "models",
        "llm",
        engine,
        multi_lora={"poet": str(tiny_model("lora"))},
        sampling=PROFILES,
        openai=TOOLS,
        startup_checks={"any": {"prompt": "The quick", "max_tokens": 4, "max_seconds": 600}},
    )
    with running(folder, folder / "models") as started:
        yield started
