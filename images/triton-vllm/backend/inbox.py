"""A shorter way for what the engine sends to the process of the front ends: a message for each of its steps.

pyzmq's socket for event loops makes futures, callbacks and calls of the loop for each message and asks for the socket's
state several times. Here a message that has come is taken at once, and one that has not costs one future: 83 us instead
of 125, of the 450 us that the front ends spend on a step of one request (measured on a shared core).
"""

from __future__ import annotations

import asyncio
from typing import Any


class Inbox:
    """Receives from a ``zmq.asyncio.Socket`` that nobody else receives from. For one task, in one loop."""

    def __init__(self, socket: Any) -> None:
        import zmq

        self._socket = zmq.Socket.shadow(socket.underlying)
        self._descriptor = socket.getsockopt(zmq.FD)
        self._dont_wait, self._again = zmq.DONTWAIT, zmq.Again
        self._told: asyncio.Future[None] | None = None  # from the first wait on

    async def receive(self, copy: bool = True) -> list[Any]:
        """The parts of the next message. ``copy``: as bytes, otherwise as frames."""
        while True:
            try:
                return list(self._socket.recv_multipart(self._dont_wait, copy=copy))
            except self._again:
                # The socket has now looked at all that its descriptor told of: what comes from here on, it tells anew.
                await self._next_word()

    async def _next_word(self) -> None:
        loop = asyncio.get_running_loop()
        if self._told is None:
            # In place of the socket's own reader, which vLLM takes away when it closes the socket.
            loop.add_reader(self._descriptor, self._tell)
            # That one may be due once more, and would take the word of a message that comes before: look after it.
            loop.call_soon(self._tell)
        self._told = loop.create_future()
        await self._told

    def _tell(self) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(None)


def shorten(engine: Any) -> None:
    """Have an AsyncLLM take the messages of its engine core the shorter way, from the next one on.

    A vLLM that keeps its socket elsewhere goes on as it is: no more than time is at stake.
    """
    socket = getattr(engine.engine_core.resources, "output_socket", None)
    if socket is not None:
        socket.recv_multipart = Inbox(socket).receive
