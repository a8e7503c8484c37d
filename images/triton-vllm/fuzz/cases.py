"""Hostile requests, each made from a seed and a number and nothing else. Pure.

A request is kept as the bytes that go over the wire, so that a finding can be sent again by any later version.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tritonclient.grpc import service_pb2

MODEL = "llm"
GRPC = "/inference.GRPCInferenceService/"
TENSORS = (
    *("text_input", "image", "stream", "sampling_parameters", "exclude_input_in_output", "return_finish_reason"),
    *("return_cumulative_logprob", "return_logprobs", "return_num_input_tokens", "return_num_output_tokens"),
    "embedding_request",
)
NUMBERS = (-1, 0, 1, 2, 7, 65, 1 << 31, (1 << 63) - 1, 1 << 63, 1 << 64, -(1 << 63), 10**30)
FLOATS = (0.5, -0.0, 1e308, -1e308, 1e-320, float("nan"), float("inf"), float("-inf"))
OPENAI_NAMES = (
    *("model", "messages", "prompt", "stream", "stream_options", "tools", "tool_choice", "response_format", "suffix"),
    *("echo", "user", "logit_bias", "logprobs", "top_logprobs", "n", "max_tokens", "max_completion_tokens", "stop"),
    *("chat_template", "chat_template_kwargs", "documents", "add_generation_prompt", "mm_processor_kwargs", "input"),
    *("tokens", "encoding_format", "dimensions", "guided_json", "structured_outputs", "priority", "request_id"),
    *("truncate_prompt_tokens", "prompt_embeds", "kv_transfer_params", "reasoning_effort", "instructions", "best_of"),
    *("mm_processor_kwargs", "cache_salt", "add_special_tokens", "reasoning", "tool_strict_level", "lora_name"),
)
OPENAI_PATHS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/models", "/tokenize"),
    *("/detokenize", "/v1/messages", "/v1/messages/count_tokens", "/v1/models/llm", "/health/ready", "/health/proof"),
    *("/version", "/metrics", "/report", "/", "/v1/%2e%2e/pause"),
)
# What a request of a path has; others have everything.
OWN_NAMES = {
    "/v1/chat/completions": ("messages", "max_tokens"),
    "/v1/completions": ("prompt", "max_tokens"),
    "/v1/responses": ("input", "max_output_tokens"),
    "/v1/messages": ("messages", "max_tokens"),
    "/v1/messages/count_tokens": ("messages",),
    "/v1/embeddings": ("input",),
    "/tokenize": ("prompt",),
}
# Of models that pool; a server has some of them, or none.
POOLING_PATHS = ("/v1/embeddings", "/pooling", "/v1/rerank", "/rerank", "/score", "/v1/score", "/classify")
POOLING_NAMES = (
    *(
        "input",
        "task",
        "dimensions",
        "encoding_format",
        "use_activation",
        "normalize",
        "truncate_prompt_tokens",
        "user",
    ),
    *("query", "documents", "top_n", "text_1", "text_2", "data", "embed_dtype", "endianness", "priority", "request_id"),
    *(
        "messages",
        "add_special_tokens",
        "mm_processor_kwargs",
        "pooling_params",
        "softmax",
        "activation",
        "chat_template",
    ),
)
# Token ids, of which an engine core without a check dies, or nearly so.
TOKENS: tuple[Any, ...] = (True, False, None, -1, 0, 1, 5, 383, 384, 1 << 31, 1 << 63, 10**30, 1.0, 5.5, "5", [5], {})
# The adapter of servers that have one.
ADAPTER = "poet"
TRITON_PATHS = (
    *(f"/v2/models/{MODEL}/generate", f"/v2/models/{MODEL}/generate_stream", f"/v2/models/{MODEL}/infer"),
    *(f"/v2/models/{MODEL}/versions/1/generate", f"/v2/models/{MODEL}/versions/-1/generate", "/v2/models/x/generate"),
    *(f"/v2/models/{MODEL}/config", f"/v2/models/{MODEL}/stats", "/v2/repository/index", "/v2/health/ready", "/v2"),
    *("/v2/repository/models/llm/load", "/v2/logging", "/v2/systemsharedmemory/region/x/register", "/v2/../etc/passwd"),
)
# An image of one point, for models that look at images.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
# Not `triton_grpc_error`: see operator/docs/serving.md for what it does to tritonserver 2.51.
METADATA = (
    *("authorization", "triton-grpc-protocol-x", "triton-grpc-protocol-trace", "triton-request-id", "traceparent"),
    *("x-forwarded-for", "x-b-bin"),
)
METHODS = ("POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW", "post")
STRUCTURES: tuple[dict[str, Any], ...] = (
    {"regex": "(a|a)*b"},
    {"regex": "((a{1,50}){1,50}){1,50}"},
    {"regex": "[" * 50},
    {"regex": "\\p{Greek}+(?=x)"},
    {"choice": []},
    {"choice": ["a"] * 3000},
    {"grammar": "root ::= root"},
    {"grammar": 'root ::= "a" root | '},
    {"json": {"type": "object", "properties": {"a": {"$ref": "#"}}}},
    {"json": {"$ref": "http://127.0.0.1:1/x"}},
    {"json": "{"},
    {"json_object": True},
    {"regex": "a", "choice": ["b"]},
    {"structural_tag": "{}"},
)


@dataclass(frozen=True, slots=True)
class Case:
    """One request. `wire` is its bytes, one character each (latin-1)."""

    name: str
    door: str  # http, openai or grpc
    wire: str
    # Whether it is a request at all, so that an answer must come.
    sound: bool = True
    # Whether the client leaves without reading.
    leave: bool = False
    # gRPC's method, and what goes with its messages.
    method: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """For a file."""
        return json.dumps(asdict(self), indent=1)


def mark(seed: int, number: int) -> str:
    """A word that is in every text of a case and nowhere else."""
    return f"zq{seed}x{number}zq"


def make(seed: int, number: int, names: Sequence[str], pools: int = 1) -> Case:
    """Case `number` of a seed. `names`: sampling parameters that the server knows; `pools`: weight of pooling."""
    chance = random.Random(f"{seed}:{number}")
    maker = Maker(chance, mark(seed, number), names)
    many: list[Callable[[], Case]] = (
        [maker.triton] * 5 + [maker.openai] * 3 + [maker.grpc] * 3 + [maker.pooling] * pools
    )
    return chance.choice([*many, maker.http, maker.http, maker.infer])()


class Maker:
    """Makes one case."""

    def __init__(self, chance: random.Random, word: str, names: Sequence[str]) -> None:
        self._chance, self._word, self._names = chance, word, names

    def triton(self) -> Case:
        """A JSON body for one of Triton's paths, usually generate."""
        path = self._chance.choice(TRITON_PATHS[:2] * 6 + TRITON_PATHS)
        wire, sound = self._post(path, self._body(self._generate()))
        return Case(f"{self._word} triton", "http", wire, sound=sound, leave=self._rarely(0.05))

    def infer(self) -> Case:
        """A request of KServe's own, its tensors behind the JSON as bytes, well-formed or not."""
        tensors: list[dict[str, Any]] = []
        blob = b""
        for name in dict.fromkeys(["text_input", *self._chance.sample(TENSORS, self._chance.randrange(3))]):
            kind, count, data = self._binary(name)
            size = len(data) if not self._rarely(0.1) else self._chance.choice((0, -1, 3, 1 << 33))
            tensors.append({"name": name, "datatype": kind, "shape": [count]})
            if self._rarely(0.2):
                tensors[-1]["data"] = [self._value(2)]
            else:
                tensors[-1]["parameters"] = {"binary_data_size": size}
                blob += data
        text = json.dumps({"inputs": tensors, "parameters": self._sampling(), "id": self._word})
        head = text.encode() if not self._rarely(0.1) else self._broken(text.encode())
        length = len(head) if not self._rarely(0.1) else self._chance.choice((0, 5, len(head) + len(blob) + 1))
        path = self._chance.choice(TRITON_PATHS[:3] + TRITON_PATHS[2:3] * 3)
        more = f"Inference-Header-Content-Length: {length}\r\n"
        wire, sound = self._post(path, (head + blob).decode("latin-1"), more)
        return Case(f"{self._word} infer", "http", wire, sound=sound, leave=self._rarely(0.05))

    def openai(self) -> Case:
        """A JSON body for a path of OpenAI's protocol."""
        path = self._chance.choice(OPENAI_PATHS[:7] * 4 + OPENAI_PATHS)
        wire, sound = self._post(path, self._body(self._openai_body(path)))
        return Case(f"{self._word} openai", "openai", wire, sound=sound, leave=self._rarely(0.05))

    def pooling(self) -> Case:
        """A request for an embedding, a score or the like, by either protocol."""
        if self._chance.random() < 0.5:
            body = {"text_input": self._word, "embedding_request": self._embedding()}
            body |= {
                name: self._value(2) for name in self._chance.sample(TENSORS[1:-1], self._chance.choice((0, 0, 1)))
            }
            wire, sound = self._post(self._chance.choice(TRITON_PATHS[:2]), self._body(body))
            return Case(f"{self._word} pooling", "http", wire, sound=sound, leave=self._rarely(0.05))
        names = self._chance.sample(POOLING_NAMES, self._chance.randrange(4))
        asked: dict[str, Any] = {"model": MODEL, "input": self._tokens()}
        asked |= {"query": self._text(), "documents": [self._text()], "text_1": self._text(), "text_2": [self._text()]}
        asked |= {name: self._value(3) for name in names}
        wire, sound = self._post(
            self._chance.choice(POOLING_PATHS[:2] * 3 + POOLING_PATHS), self._body(self._with_id(asked))
        )
        return Case(f"{self._word} pooling", "openai", wire, sound=sound, leave=self._rarely(0.05))

    def http(self) -> Case:
        """A request whose method, path, headers or framing is wrong."""
        door, paths = self._chance.choice((("http", TRITON_PATHS), ("openai", OPENAI_PATHS)))
        path = self._chance.choice((*paths, "/" + "a" * 9000, "/%00%ff", "//", f"/v2/models/{self._word}", "*"))
        body = self._body(self._generate())
        extra = self._chance.sample(
            (
                "Inference-Header-Content-Length: 5",
                "Inference-Header-Content-Length: -1",
                "Inference-Header-Content-Length: 99999999999999999999",
                "Content-Encoding: gzip",
                "Accept-Encoding: gzip, deflate",
                "Expect: 100-continue",
                "Content-Type: text/" + self._word,
                "triton-request-id: " + self._word * 100,
                "X-" + "b" * 3000 + ": c",
                "Authorization: Bearer " + self._word,
                "Transfer-Encoding: chunked",
                "Content-Length: 3",
                "Content-Length: -3",
                "no colon",
                "\x00: \xff",
            ),
            self._chance.randrange(4),
        )
        head = [f"{self._chance.choice(METHODS)} {path} HTTP/{self._chance.choice(('1.1', '1.1', '1.0', '9.9', ''))}"]
        head += ["Host: x", f"Content-Length: {len(body) + self._chance.choice((0, 0, 0, 5, -3))}", *extra]
        return Case(f"{self._word} http", door, "\r\n".join([*head, "", body]), sound=False, leave=self._rarely(0.2))

    def grpc(self) -> Case:
        """A message to one of the methods, well-formed or not."""
        request = service_pb2.ModelInferRequest(model_name=MODEL, id=self._word[: self._chance.randrange(20)])
        chosen = self._chance.sample(TENSORS, self._chance.randrange(1, 5))
        for name in dict.fromkeys(["text_input", *chosen] if not self._rarely(0.2) else [*chosen, self._word]):
            self._tensor(request, name)
        for name in self._chance.sample(self._names, self._chance.randrange(4)):
            self._parameter(request.parameters[name])
        wire = request.SerializeToString(deterministic=True)
        method = self._chance.choice(("ModelStreamInfer",) * 8 + ("ModelInfer", "ModelConfig", "RepositoryModelLoad"))
        if self._rarely(0.15):
            wire = self._broken(wire)
        names = self._chance.sample(METADATA, self._chance.choice((0, 0, 1, 2)))
        metadata = {name: self._chance.choice(("", "true", self._word, self._word * 200, "=?~ ")) for name in names}
        return Case(f"{self._word} grpc", "grpc", wire.decode("latin-1"), method=GRPC + method, metadata=metadata)

    def _tensor(self, request: Any, name: str) -> None:
        kind, count, data = self._binary(name)
        tensor = request.inputs.add(name=name, datatype=kind, shape=[count] if not self._rarely(0.05) else [])
        if self._rarely(0.1):
            tensor.contents.bytes_contents.append(self._text().encode("utf-8", "surrogatepass"))
        else:
            request.raw_input_contents.append(self._broken(data) if self._rarely(0.1) else data)

    def _binary(self, name: str) -> tuple[str, int, bytes]:
        """A tensor's type, its number of elements and its bytes, which usually fit together."""
        boolean = name.startswith(("return_", "exclude_")) or name == "stream"
        kind = (
            ("BOOL" if boolean else "BYTES") if not self._rarely(0.15) else self._chance.choice(("FP32", "INT64", "X"))
        )
        count = 1 if not self._rarely(0.2) else self._chance.choice((0, 2, 3, -1, 1 << 40))
        return kind, count, b"".join(self._element(kind, name) for _ in range(max(0, min(count, 4))))

    def _element(self, kind: str, name: str) -> bytes:
        if kind == "BOOL":
            return self._chance.choice((b"\0", b"\1", b"\2"))
        if kind != "BYTES":
            return self._chance.randbytes(8 if kind == "INT64" else 4)
        text = json.dumps(self._sampling()) if name == "sampling_parameters" else self._text()
        text = PICTURE if name == "image" and self._rarely(0.5) else text
        text = self._embedding() if name == "embedding_request" and not self._rarely(0.2) else text
        data = text.encode("utf-8", "surrogatepass") if not self._rarely(0.1) else self._chance.randbytes(9)
        return len(data).to_bytes(4, "little") + data

    def _parameter(self, parameter: Any) -> None:
        value = self._value(2)
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
            parameter.int64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        else:
            parameter.string_param = json.dumps(value)

    def _generate(self) -> dict[str, Any]:
        body: dict[str, Any] = {"text_input": self._text() if not self._rarely(0.1) else self._value(3)}
        body |= {name: self._value(3) for name in self._chance.sample(TENSORS[1:], self._chance.randrange(3))}
        if self._rarely(0.1):
            body["image"] = self._chance.choice((PICTURE, [PICTURE, PICTURE], [PICTURE, self._text()]))
        sampling = self._sampling()
        door = self._chance.choice(("top", "nested", "tensor"))
        if door == "tensor":
            return body | {"sampling_parameters": json.dumps(sampling)}
        return body | ({"parameters": sampling} if door == "nested" else sampling)

    def _tokens(self) -> Any:
        """What stands for a prompt: mostly text or token ids, some of a wrong type, or several prompts."""
        ids = [self._chance.choice(TOKENS) if self._rarely(0.4) else 5 for _ in range(self._chance.randrange(1, 5))]
        return self._chance.choice((self._text(), ids, ids, [ids, ids], [self._text(), self._text()], self._value(2)))

    def _embedding(self) -> str:
        asked: dict[str, Any] = {"input": self._tokens()}
        for name in self._chance.sample(
            ("dimensions", "use_activation", "task", self._word), self._chance.randrange(3)
        ):
            asked[name] = self._chance.choice((*TOKENS, self._value(2)))
        if self._rarely(0.3):
            asked["pooling_params"] = self._chance.choice(({"dimensions": self._value(2)}, self._value(2)))
        return json.dumps(asked if not self._rarely(0.1) else self._value(2))

    def _picture_part(self) -> dict[str, Any]:
        """A part of a chat's message: an image, or what is none."""
        uri = self._chance.choice(
            (f"data:image/png;base64,{PICTURE}", f"data:image/png;base64,{self._word}", "data:,", self._text())
        )
        return {"type": "image_url", "image_url": self._chance.choice(({"url": uri}, uri, {"url": 1}, self._value(1)))}

    def _sampling(self) -> dict[str, Any]:
        names = self._chance.sample(self._names, self._chance.randrange(4))
        found: dict[str, Any] = {name: self._value(3) for name in names}
        if self._rarely(0.15):
            found["structured_outputs"] = self._chance.choice(STRUCTURES)
        if self._rarely(0.1):
            found[self._text()[:200]] = 1
        if self._rarely(0.15):
            found["lora_name"] = self._chance.choice((ADAPTER, ADAPTER, self._word, self._value(1)))
        if self._rarely(0.1):  # what a worker keeps in arrays of a fixed size
            found |= {
                "min_tokens": 1,
                "max_tokens": self._chance.choice((1, *NUMBERS)),
                "n": self._chance.choice((1, 2)),
            }
            found |= {"stop_token_ids": list(range(self._chance.choice((1, 127, 200)))), "temperature": 1.0}
            found |= {"seed": self._chance.choice(NUMBERS)}
        return found

    def _openai_body(self, path: str) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": self._chance.choice(("user", "system", "tool", self._word)),
            "content": self._text(),
        }
        if self._rarely(0.15):
            message["content"] = [{"type": "text", "text": self._text()}, self._picture_part()]
        body: dict[str, Any] = {"model": MODEL if not self._rarely(0.1) else ADAPTER}
        parts = {"messages": [message], "prompt": self._tokens(), "input": self._text()}
        own = OWN_NAMES.get(path, (*parts, "max_tokens"))
        body |= {name: parts.get(name, 4) for name in (own if not self._rarely(0.05) else (*parts, "max_tokens"))}
        names = self._chance.sample((*OPENAI_NAMES, *self._names), self._chance.randrange(4))
        body |= {name: self._value(3) for name in names}
        if self._rarely(0.1):
            body["structured_outputs"] = self._chance.choice(STRUCTURES)
        if self._rarely(0.3):
            body.pop(self._chance.choice([name for name in body if not name.startswith("max_")]))
        return self._with_id(body)

    def _with_id(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body; a client chooses an id to find it in the log, and no other word of a request may be there."""
        if "request_id" in body:
            body["request_id"] = json.loads(json.dumps(body["request_id"]).replace(self._word, "chosen"))
        return body

    def _value(self, depth: int) -> Any:
        kind = self._chance.randrange(10 if depth else 8)
        if kind < 2:
            return self._chance.choice(NUMBERS)
        if kind == 2:
            return self._chance.choice(FLOATS)
        if kind == 3:
            return self._chance.choice((True, False, None))
        if kind < 7:
            return self._text()
        if kind == 7:
            return self._chance.choice(("1", "true", "[1]", '["a"]', "{}", "null", "NaN", "[" * 3000, "1e999"))
        if kind == 8:
            if self._rarely(0.1):
                return [self._chance.choice((*NUMBERS, self._word))] * 1100
            return [self._value(depth - 1) for _ in range(self._chance.choice((0, 1, 3)))]
        return {self._text()[:50]: self._value(depth - 1) for _ in range(self._chance.randrange(4))}

    def _text(self) -> str:
        plain = self._word
        return self._chance.choice(
            (
                plain,
                f"Hello {plain}",
                "",
                plain * 50,
                f"\0{plain}\r\n",
                f"{plain} \ud800",
                f"日本語 {plain} 🙂",
                f"<image>{plain}",
            )
            + (("x" * 300_000,) if self._rarely(0.02) else ())
        )

    def _body(self, value: Any) -> str:
        text = json.dumps(value)
        if self._rarely(0.05):
            text = "[" * self._chance.choice((100, 100_000)) + text
        if self._rarely(0.05):
            text = text[:-1] + ', "text_input": "again", "text_input": 1}'
        data = text.encode()
        return (self._broken(data) if self._rarely(0.15) else data).decode("latin-1")

    def _post(self, path: str, body: str, more: str = "") -> tuple[str, bool]:
        """The wire, and whether its framing is right. `more`: further lines of the head."""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}"
        if self._rarely(0.1):
            size = self._chance.choice((1, 7, 4096))
            parts = [body[at : at + size] for at in range(0, min(len(body), 200 * size), size)]
            chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts)
            return f"{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n", True
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}", True

    def _broken(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._chance.randrange(1, 6)):
            if not changed:
                break
            at = self._chance.randrange(len(changed))
            what = self._chance.randrange(3)
            if what == 0:
                changed[at] = self._chance.randrange(256)
            elif what == 1:
                del changed[at : at + self._chance.randrange(1, 9)]
            else:
                changed[at:at] = self._chance.randbytes(self._chance.randrange(1, 9))
        return bytes(changed)

    def _rarely(self, share: float) -> bool:
        return self._chance.random() < share
