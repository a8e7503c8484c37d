"""The engine core starts while the front end gets ready, and whatever fails is raised where it is waited for."""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.engine import prefetch
from backend.patches.early_engine_core import installed
from testing.server import TINY_ENGINE, script_lines, tiny_model, wait_until

CONFIG = SimpleNamespace(name="config")


def module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    """A stand-in for a module of vLLM, and for the packages above it."""
    for end in range(len(parts := name.split("."))):
        above = ".".join(parts[: end + 1])
        if above not in sys.modules:
            monkeypatch.setitem(sys.modules, above, ModuleType(above))
        if end:
            setattr(sys.modules[".".join(parts[:end])], parts[end], sys.modules[above])
    vars(sys.modules[name]).update(contents)


class Client:
    """A stand-in for the engine core's client."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.reads = 0

    def _ensure_output_queue_task(self) -> None:
        self.reads += 1


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for vLLM's EngineCoreClient, whose client is ready when `ready` is set, or fails with `error`."""

    class EngineCoreClient:
        ready = threading.Event()
        asked = threading.Event()
        error: BaseException | None = None
        made: Client | None = None

        @staticmethod
        def make_async_mp_client(**given: Any) -> Client:
            EngineCoreClient.asked.set()
            assert EngineCoreClient.ready.wait(60)
            if EngineCoreClient.error is not None:
                raise EngineCoreClient.error
            EngineCoreClient.made = Client(given)
            return EngineCoreClient.made

    module(monkeypatch, "vllm.v1.engine.core_client", EngineCoreClient=EngineCoreClient)
    chosen = SimpleNamespace(get_class=lambda config: f"executor for {config.name}")
    module(monkeypatch, "vllm.v1.executor", Executor=chosen)
    return EngineCoreClient


def nothing(_: Any) -> None:
    """Nothing is done meanwhile."""


@pytest.mark.parametrize("log_stats", [True, False])
def test_the_stand_in_client_that_was_made_early_is_taken_and_read_from(clients: Any, log_stats: bool) -> None:
    own = clients.make_async_mp_client
    warmed = list[str]()
    renderer = SimpleNamespace(start_mm_warmup_in_background=lambda: warmed.append("warm"))
    with installed(CONFIG, log_stats, nothing):
        assert clients.asked.wait(60), "the core starts before anybody asks for its client"
        clients.ready.set()
        taken = clients.make_async_mp_client(vllm_config=CONFIG, client_count=1, renderer=renderer)
    assert taken is clients.made
    assert taken.given == {"vllm_config": CONFIG, "executor_class": "executor for config", "log_stats": log_stats}
    assert taken.reads == 1
    assert warmed == ["warm"]
    assert clients.make_async_mp_client is own


def test_a_version_without_a_renderer_takes_the_stand_in_client_as_well(clients: Any) -> None:
    clients.ready.set()
    with installed(CONFIG, True, nothing):
        assert clients.make_async_mp_client(vllm_config=CONFIG) is clients.made


@pytest.mark.parametrize("error", [RuntimeError("no weights"), SystemExit(1)])
def test_a_stand_in_core_that_fails_fails_where_its_client_is_taken(clients: Any, error: BaseException) -> None:
    own = clients.make_async_mp_client
    clients.error = error
    clients.ready.set()
    with pytest.raises(type(error)) as raised, installed(CONFIG, True, nothing):
        clients.make_async_mp_client(renderer=None)
    assert raised.value is error
    assert clients.make_async_mp_client is own


def test_a_tokenizer_that_fails_does_not_wait_for_the_stand_in_core(clients: Any) -> None:
    own = clients.make_async_mp_client
    # The core is never ready: who waited for it would wait for ever.
    with pytest.raises(ValueError, match="no tokenizer"), installed(CONFIG, True, nothing):
        raise ValueError("no tokenizer")
    assert clients.make_async_mp_client is own
    (starting,) = [thread for thread in threading.enumerate() if thread.name == "start-core"]
    assert starting.daemon, "the process ends without it"
    clients.ready.set()
    starting.join(60)


def test_the_stand_in_renderer_is_used_while_the_core_starts(clients: Any) -> None:
    used = threading.Event()
    taken = list[Any]()
    with installed(CONFIG, True, lambda renderer: used.set() if renderer == "renderer" else None):
        taking = threading.Thread(target=lambda: taken.append(clients.make_async_mp_client(renderer="renderer")))
        taking.start()
        assert used.wait(60)
        assert taken == []
        clients.ready.set()
        taking.join(60)
    assert taken == [clients.made]


def test_what_fails_in_advance_is_left_to_who_needs_it(clients: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise OSError("no such file")

    clients.ready.set()
    in_background = partial(prefetch.in_background, fail)
    with caplog.at_level("DEBUG", "triton_vllm"), installed(CONFIG, True, in_background):
        assert clients.make_async_mp_client(renderer="renderer") is clients.made
        wait_until(lambda: "prefetch failed: OSError: no such file" in caplog.text)


def test_the_tokenizer_is_loaded_by_the_stand_in_that_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = list[Any]()
    module(
        monkeypatch, "vllm.tokenizers", cached_tokenizer_from_config=lambda model_config: loaded.append(model_config)
    )
    with_one = SimpleNamespace(model_config=SimpleNamespace(skip_tokenizer_init=False))
    without = SimpleNamespace(model_config=SimpleNamespace(skip_tokenizer_init=True))
    prefetch.tokenizer(without)
    prefetch.tokenizer(with_one)
    wait_until(lambda: loaded)
    assert loaded == [with_one.model_config]


def test_the_chat_template_is_asked_for_as_the_openai_server_will(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Any]()
    module(
        monkeypatch, "vllm.renderers.hf", resolve_chat_template=lambda *values, **named: asked.append((values, named))
    )
    prefetch.chat_template(SimpleNamespace(tokenizer="tokenizer", model_config="model"))
    wait_until(lambda: asked)
    assert asked == [(("tokenizer", None, None), {"model_config": "model"})]


ENGINE = """
import asyncio, json, os, sys, time
import uvloop
from backend.engine.async_llm import engine_arguments, start_engine
from backend.patches import early_engine_core
from backend.container.processes import below, name_of

def core_runs():
    return any(name_of(pid).startswith("VLLM::EngineCor") for pid in below(os.getpid()))

def watched(make, seen):
    def slow(*values, **named):
        deadline = time.monotonic() + 200
        while not core_runs() and time.monotonic() < deadline:
            time.sleep(0.1)
        seen.append(core_runs())
        return make(*values, **named)
    return slow

async def run(values):
    from vllm import SamplingParams
    from vllm.v1.engine import async_llm
    from vllm.v1.engine.core_client import EngineCoreClient
    seen = []
    own = getattr(EngineCoreClient, early_engine_core.MAKE_CLIENT)
    async_llm.renderer_from_config = watched(async_llm.renderer_from_config, seen)
    engine = await start_engine(engine_arguments(values), chats=True)
    async for output in engine.generate("Hello", SamplingParams(max_tokens=8, ignore_eos=True), "0"):
        pass
    engine.shutdown()
    own_again = getattr(EngineCoreClient, early_engine_core.MAKE_CLIENT) is own
    return {"core ran": seen, "tokens": len(output.outputs[0].token_ids), "own": own_again}

if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(json.loads(sys.argv[1])))))
"""


@pytest.mark.engine
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_vllms_core_runs_before_the_tokenizer_is_loaded(tmp_path: Path, variant: str) -> None:
    engine = json.dumps({**TINY_ENGINE, "model": str(tiny_model())})
    found = json.loads(script_lines(tmp_path, ENGINE, engine, variant=variant)[-1])
    assert found == {"core ran": [True], "tokens": 8, "own": True}
