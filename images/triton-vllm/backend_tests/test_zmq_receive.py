"""The engine's messages come whole and in order, as by pyzmq's own socket, in the engine's environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testing.server import TINY_ENGINE, pinned_engine, script_lines, tiny_model

pytestmark = pytest.mark.engine

BARE = """
import asyncio, json, resource, time, types
import uvloop, zmq, zmq.asyncio
from backend.patches.zmq_receive import install

async def run():
    context = zmq.asyncio.Context(io_threads=1)
    socket = context.socket(zmq.PULL)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    sender = context.socket(zmq.PUSH)
    sender.connect(f"tcp://127.0.0.1:{port}")
    found = []
    direct = zmq.Context.instance().socket(zmq.PUSH)
    direct.connect(f"tcp://127.0.0.1:{port}")

    def late():
        # As pyzmq, where it has put off a look at the socket: the word of a message that has just come is gone.
        direct.send_multipart([b"1", b"x"])
        time.sleep(0.2)
        socket._handle_events()

    async def collect():
        while True:
            found.append(await socket.recv_multipart(copy=False))
            if len(found) == 1:
                asyncio.get_running_loop().call_soon(late)

    async def come(count):
        for _ in range(1000):
            if len(found) >= count:
                return True
            await asyncio.sleep(0.01)
        return False

    async def send(first, count, pause):
        for number in range(first, first + count):
            await sender.send_multipart([str(number).encode(), b"x" * (number % 7)])
            if pause:
                await asyncio.sleep(pause)
        await come(first + count)

    # It waits for a message the socket's own way, as vLLM does by the time that the engine is there.
    task = asyncio.create_task(collect())
    await asyncio.sleep(0.1)
    for resources in ({}, {"output_socket": socket}):  # the first: of a vLLM that keeps it elsewhere
        core = types.SimpleNamespace(resources=types.SimpleNamespace(**resources))
        install(types.SimpleNamespace(engine_core=core))
    await send(0, 1, 0)         # the last one the socket's own way
    second = await come(2)
    await send(2, 298, 0.001)   # one after another
    await send(300, 2000, 0)    # many at once
    spent = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.sleep(1)
    idle = resource.getrusage(resource.RUSAGE_SELF)
    await send(2300, 1, 0)      # after a silence
    task.cancel()
    ended = (await asyncio.gather(task, return_exceptions=True))[0]
    socket.close(linger=0)
    sender.close(linger=0)
    direct.close(linger=0)
    await asyncio.sleep(0.1)
    context.term()
    parts = [[bytes(part) for part in message] for message in found]
    return {
        "second": second,
        "complete": parts == [[str(number).encode(), b"x" * (number % 7)] for number in range(2301)],
        "short": socket.recv_multipart.__func__.__module__,
        "idle": idle.ru_utime + idle.ru_stime - spent.ru_utime - spent.ru_stime,
        "ended": type(ended).__name__,
    }

uvloop.install()
print(json.dumps(asyncio.run(run())))
"""

ENGINE = """
import asyncio, json, sys
import uvloop
from backend.engine.async_llm import engine_arguments, start_engine

async def run(values):
    from vllm import SamplingParams, __version__
    engine = await start_engine(engine_arguments(values))
    socket = engine.engine_core.resources.output_socket
    wanted = SamplingParams(max_tokens=8, ignore_eos=True)
    asked = [engine.generate("Hello", wanted, str(number)) for number in range(4)]
    answers = await asyncio.gather(*map(last, asked))
    engine.shutdown()
    tokens = [len(one.outputs[0].token_ids) for one in answers]
    short = socket.recv_multipart.__func__.__module__
    return {"short": short, "tokens": tokens, "vllm": __version__.split("+")[0]}

async def last(answer):
    async for output in answer:
        pass
    return output

if __name__ == "__main__":  # the engine core is a process that imports this again
    print(json.dumps(uvloop.run(run(json.loads(sys.argv[1])))))
"""


def test_messages_come_whole_and_in_order_and_silence_costs_nothing(tmp_path: Path) -> None:
    found = json.loads(script_lines(tmp_path, BARE)[-1])
    assert found["idle"] < 0.2  # of a second: the socket does not wake it again and again
    del found["idle"]
    assert found == {
        "second": True,
        "complete": True,
        "short": "backend.patches.zmq_receive",
        "ended": "CancelledError",
    }


@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_an_engine_answers_the_shorter_way(tmp_path: Path, variant: str) -> None:
    engine = json.dumps({**TINY_ENGINE, "model": str(tiny_model())})
    found = json.loads(script_lines(tmp_path, ENGINE, engine, variant=variant)[-1])
    assert found == {"short": "backend.patches.zmq_receive", "tokens": [8] * 4, "vllm": pinned_engine(variant)}
