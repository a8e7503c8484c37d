"""The input `image` with a model that looks at images."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fuzz.__main__ as fuzzing
from testing.server import TINY_ENGINE, Server, running, tiny_model, write_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

ONE, TWO = "What is <image>?", "Compare <image> with <image>."
GREEDY = {"max_tokens": 8, "temperature": 0, "ignore_eos": True, "exclude_input_in_output": True}
ALLOWED, LIMIT = 2, 3
SEED, SECONDS, CLIENTS = 4, 55.0, 2


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A LLaVA that takes two images a request, behind a limit of three; OpenAI's protocol is on."""
    folder = tmp_path_factory.mktemp("seer")
    engine = {
        **TINY_ENGINE,
        "model": str(tiny_model("seer")),
        "hf_overrides": {},
        "max_model_len": 512,
        "limit_mm_per_prompt": {"image": ALLOWED},
    }
    write_model(folder / "models", "llm", engine, limits={"max_images": LIMIT}, openai={})
    with running(folder, folder / "models") as started:
        yield started


COLOURS = {"red": b"\xff\0\0", "blue": b"\0\0\xff"}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colour: str, width: int = 40, height: int = 30) -> bytes:
    """An image of one colour."""
    points = zlib.compress((b"\0" + COLOURS[colour] * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", points) + chunk(b"IEND", b"")


def picture(colour: str) -> str:
    return base64.b64encode(png(colour)).decode()


def text_of(server: Server, prompt: str, image: Any) -> str:
    answer = server.generate(prompt, image=image, **GREEDY)
    assert answer.status == 200, answer
    return str(answer.body["text_output"])


def test_image_is_seen(seer: Server) -> None:
    red, blue = (text_of(seer, ONE, picture(colour)) for colour in ("red", "blue"))
    assert red != blue
    assert text_of(seer, ONE, [picture("red")]) == red
    bmp = b"BM" + struct.pack("<IIIIiiHHIIiiII", 58, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + b"\0\0\xff\0"
    assert text_of(seer, ONE, base64.b64encode(bmp).decode()) == red


def test_an_image_takes_tokens_of_the_prompt(seer: Server) -> None:
    counted = {"return_num_input_tokens": True, **GREEDY}
    alone = seer.generate("What is it?", **counted).body["num_input_tokens"]
    assert seer.generate("What is it?<image>", image=picture("red"), **counted).body["num_input_tokens"] == alone + 4


def test_two_images_and_their_order(seer: Server) -> None:
    red, blue = picture("red"), picture("blue")
    assert text_of(seer, TWO, [red, blue]) != text_of(seer, TWO, [blue, red])


def test_images_in_a_stream(seer: Server) -> None:
    wanted = {key: value for key, value in GREEDY.items() if key != "exclude_input_in_output"}
    events = seer.stream(TWO, image=[picture("red"), picture("blue")], **wanted)
    assert "".join(e["text_output"] for e in events) == text_of(seer, TWO, [picture("red"), picture("blue")])


def test_text_alone_still_works(seer: Server) -> None:
    assert seer.generate("Hello", **GREEDY).status == 200


# A PNG of 50,000 x 50,000 points: a decompression bomb.
HUGE = base64.b64encode(png("red").replace(struct.pack(">II", 40, 30), struct.pack(">II", 50_000, 50_000))).decode()
BAD: dict[str, tuple[str, Any, list[str]]] = {
    "more than the model takes": (TWO + " <image>", ["red"] * 3, ["image", "2"]),
    "more than the limit": (ONE, ["red"] * 4, ["'image'", "4", "at most 3"]),
    "no base64": (ONE, "%%%", ["'image'", "base64"]),
    "cut base64": (ONE, "QUJ", ["'image'", "base64"]),
    "no image": (ONE, base64.b64encode(b"not an image").decode(), ["'image'", "not an image"]),
    "empty": (ONE, "", ["'image'", "not an image"]),
    "one of two is none": (TWO, ["red", "QUJD"], ["'image'", "not an image"]),
    "a bomb": (ONE, HUGE, ["'image'", "not an image"]),
    "no place for the image": ("no place", "red", ["placeholder", "image"]),
}


def test_cut_image_is_refused(seer: Server) -> None:
    answer = seer.generate(ONE, image=base64.b64encode(png("red")[:-30]).decode(), **GREEDY)
    assert answer.status == 400, answer
    assert "not an image" in answer.error


@pytest.mark.parametrize("case", BAD)
def test_bad_images_are_the_clients_fault(seer: Server, case: str) -> None:
    prompt, images, words = BAD[case]
    named = {"red": picture("red")}
    given = [named.get(one, one) for one in images] if isinstance(images, list) else named.get(images, images)
    answer = seer.generate(prompt, image=given, **GREEDY)
    assert 400 <= answer.status < 500, answer
    for word in words:
        assert word in answer.error
    assert "request failed" not in seer.log
    assert json.dumps(given)[:200] not in seer.log


def test_a_minute_of_hostile_requests(seer: Server, tmp_path: Path) -> None:
    # Here because this server is up, has all ports and images, and a context so short that no request lasts. Two
    # clients: the tests beside this one need some of the machine.
    assert fuzzing.fuzz(seer, SEED, SECONDS, tmp_path, print, CLIENTS) == []
