"""The arithmetic of `make bench-serving`, and its load generator against a small server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench import figures, load
from bench.__main__ import WARM_TOKENS, Bench, Plan, in_turn
from bench.figures import EACH, EQUAL, FIRST, FRONT, KEPT, MISSED, SPEED, SPEEDS, Comparison, Measured, Ratio
from bench.servers import Target


def measured(target: str, number: int, speed: float, clients: int = 1, model: str = "m") -> Measured:
    return Measured(model, clients, number, target, {SPEED: speed, FIRST: 1 / speed, EACH: 1 / speed, FRONT: speed})


def test_ratios_are_paired_within_a_round() -> None:
    found = [measured("vllm full", 0, 100), measured("ours full", 0, 110)]
    found += [measured("vllm full", 1, 50), measured("ours full", 1, 60), measured("ours full", 2, 1)]
    assert figures.ratios(found, SPEEDS[0]) == [[1.1, 1.2]]


def test_a_target_that_gives_nothing_counts() -> None:
    found = [measured("vllm full", 0, 100)]
    nothing = Measured("m", 1, 0, "ours full", {SPEED: 0.0})
    assert figures.ratios([*found, nothing], SPEEDS[0]) == [[0.0]]
    assert figures.ratios(found, SPEEDS[0]) == []


def test_what_was_measured_before_and_after_the_others_counts_as_its_mean() -> None:
    found = [measured("vllm full", 0, 90), measured("ours full", 0, 110), measured("vllm full", 0, 110)]
    assert figures.ratios(found, SPEEDS[0]) == [[1.1]]


@pytest.mark.parametrize(
    ("number", "order"),
    [
        (0, "vllm full, a full, b full, c full, vllm full, vllm stream, a stream, b stream, vllm stream"),
        (1, "vllm full, a full, c full, b full, vllm full, vllm stream, a stream, b stream, vllm stream"),
        (2, "vllm full, c full, a full, b full, vllm full, vllm stream, a stream, b stream, vllm stream"),
    ],
)
def test_each_round_has_its_base_around_each_kind_and_the_others_in_turn(number: int, order: str) -> None:
    names = ["a full", "a stream", "vllm full", "vllm stream", "b stream", "b full", "c full"]
    targets = [Target(name, 80, "/", name.endswith("stream"), False, 1) for name in names]
    assert ", ".join(target.name for target in in_turn(targets, number)) == order


def test_middle_is_the_median_with_an_interval_around_it() -> None:
    found = figures.middle([[1.0, 1.1, 0.9, 1.0, 1.05]])
    assert found is not None
    assert found.median == 1.0
    assert 0.9 <= found.low <= 1.0 <= found.high <= 1.1
    assert figures.middle([]) is None


def test_what_differs_from_case_to_case_is_no_noise() -> None:
    found = figures.middle([[1.0] * 5, [1.5] * 5, [2.0] * 5])
    assert found == Ratio(1.5, 1.5, 1.5)


@pytest.mark.parametrize(("speed", "word"), [(1.0, KEPT), (0.99, MISSED)])
def test_a_promise_is_kept_or_missed(speed: float, word: str) -> None:
    verdicts = figures.judge([measured("vllm full", 0, 1.0), measured("ours full", 0, speed)], None)
    assert [verdict.word for verdict in verdicts] == [word]
    assert ">= 1" in verdicts[0].text


def test_latency_must_not_be_more() -> None:
    found = [measured("vllm stream", 0, 1.0), measured("ours stream", 0, 0.9)]
    words = {verdict.text.split(" [")[0].rsplit(" ", 1)[0]: verdict.word for verdict in figures.judge(found, 0.002)}
    assert words["m: TTFT generate_stream"] == MISSED
    assert words["m: generate_stream"] == MISSED
    assert figures.judge(found, 0.002)[-1].word == KEPT
    assert figures.judge(found, 0.02)[-1].word == MISSED


@pytest.mark.parametrize(
    ("at_least", "found", "word"),
    [
        (True, Ratio(1.01, 0.90, 1.02), KEPT),
        (True, Ratio(0.99, 0.96, 1.01), EQUAL),
        (True, Ratio(0.99, 0.94, 1.01), MISSED),  # too noisy to call it equal
        (True, Ratio(0.99, 0.98, 0.995), MISSED),  # little, but certain
        (False, Ratio(0.99, 0.98, 1.20), KEPT),
        (False, Ratio(1.01, 0.99, 1.04), EQUAL),
        (False, Ratio(1.01, 0.99, 1.06), MISSED),
        (False, Ratio(1.01, 1.005, 1.02), MISSED),
    ],
)
def test_what_is_not_told_apart_from_the_bound_is_equal_when_it_is_measured_well(
    at_least: bool, found: Ratio, word: str
) -> None:
    assert Comparison("x", "a", "b", SPEED, 1.0, at_least=at_least).word(found) == word


@pytest.mark.parametrize(
    ("at_least", "found", "open_still"),
    [
        (True, Ratio(0.99, 0.94, 1.01), True),
        (True, Ratio(1.01, 0.94, 1.02), True),  # a median that pleases ends nothing
        (True, Ratio(0.99, 0.96, 1.01), False),
        (True, Ratio(0.90, 0.80, 0.99), False),  # missed for certain
        (False, Ratio(0.99, 0.98, 1.06), True),
        (False, Ratio(1.01, 0.99, 1.04), False),
        (False, Ratio(1.10, 1.01, 1.20), False),
    ],
)
def test_a_promise_is_open_while_its_interval_reaches_too_far_beyond_the_bound(
    at_least: bool, found: Ratio, open_still: bool
) -> None:
    assert Comparison("x", "a", "b", SPEED, 1.0, at_least=at_least).open(found) is open_still


class Script:
    """Stands in for load generator and servers: their speeds are given."""

    def __init__(self, speeds: list[float]) -> None:
        self.asked: list[int] = []
        self.speeds = {"vllm full": [1.0], "ours full": speeds, "vllm stream": [1.0], "ours stream": [1.0]}
        self.targets = {name: Target(name, 80, "/", name.endswith("stream"), False, 1) for name in self.speeds}
        self.variant = "cpu"

    def run(self, target: Target, plan: Plan, clients: int, _requests: int) -> dict[str, Any]:
        if plan.tokens == WARM_TOKENS:
            return {}
        self.asked += [clients] if target.name == "ours full" else []
        speeds = self.speeds[target.name]
        speed = speeds[(len(self.asked) - 1) % len(speeds)]
        return {SPEED: speed, FIRST: 1 / speed, EACH: 1 / speed, "seconds": 1.0, "loadShare": 0.0}


@pytest.mark.parametrize(
    ("speeds", "rounds"),
    [([1.1], 5), ([0.8], 5), ([1.3, 0.7], 8)],
    ids=["kept for certain", "missed for certain", "too noisy to decide"],
)
def test_rounds_are_added_up_to_a_limit_while_noise_hides_the_verdict(
    monkeypatch: pytest.MonkeyPatch, speeds: list[float], rounds: int
) -> None:
    monkeypatch.setattr("bench.__main__.described", lambda _: "a host")
    monkeypatch.setattr("bench.__main__.front_seconds", lambda _: 0.0)
    script = Script(speeds)
    bench = Bench(Plan((1,), 5, 3, 1.0, 96), script, None)
    bench.model("m", script)
    assert len(script.asked) == rounds
    assert sorted({one.round for one in bench.measured}) == list(range(rounds))


def against_stock(clients: int, vllm: float, ours: float) -> list[Measured]:
    speeds = {"vllm full": vllm, "ours full": ours, "stock full": 1.0}
    return [measured(target, 0, speed, clients) for target, speed in speeds.items()]


def stock_verdicts(found: list[Measured]) -> list[str]:
    return [verdict.word for verdict in figures.judge(found, None) if "stock" in verdict.text]


def test_what_is_promised_over_the_stock_design_counts_where_the_engine_is_not_the_limit() -> None:
    limited = against_stock(1, vllm=1.1, ours=1.1)
    assert stock_verdicts([*limited, *against_stock(256, vllm=1.5, ours=1.6)]) == [KEPT]
    assert stock_verdicts([*limited, *against_stock(256, vllm=1.5, ours=1.2)]) == [MISSED]
    assert stock_verdicts(limited) == [MISSED]  # nothing was shown
    assert "the engine was the limit" in figures.judge(limited, None)[-1].text


def test_speedup_of_a_hundred_clients() -> None:
    found = [measured("ours full", 0, 10, clients=1), measured("ours full", 0, 90, clients=100)]
    assert figures.concurrency(found) == 9
    assert figures.judge(found, None)[0].word == MISSED
    assert figures.concurrency(found[:1]) is None


def test_table_and_plot_have_every_model_and_number_of_clients() -> None:
    found = [
        measured(target, 0, 10, clients, model)
        for target in ("vllm full", "ours full")
        for clients in (1, 8)
        for model in "ab"
    ]
    rows = figures.table(found).splitlines()
    assert len(rows) == 3 + 4
    assert len({row.count("|") for row in rows}) == 1
    assert any(row.startswith("| a | 8 | 10 | 1.00 |") for row in rows)
    assert "| a | 8 | 10 | 10 |" in figures.costs(found).splitlines()
    assert figures.plot(found).count("#" * 44) == 8


FULL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = [b"9\r\ndata: a\n\n\r\n", b"9\r\ndata: b\n\n\r\n", b"e\r\ndata: [DONE]\n\n\r\n", b"0\r\n\r\n"]


def asked(answer: list[bytes], stream: bool, status: bytes = b"200 OK") -> dict[str, Any]:
    """What the generator counts of 6 requests from 3 clients, each answered with these parts."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"}"):
            for part in answer:
                writer.write(part.replace(b"200 OK", status))
                await writer.drain()
                await asyncio.sleep(0.005)

    async def both() -> dict[str, Any]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        job = {"port": port, "path": "/x", "stream": stream, "tokens": 3, "body": {}, "clients": 3, "requests": 6}
        try:
            return await load.run(job)
        finally:
            server.close()

    return asyncio.run(both())


@pytest.mark.parametrize("parts", [[FULL], [FULL[:20], FULL[20:40], FULL[40:]]])
def test_full_answers_are_counted(parts: list[bytes]) -> None:
    found = asked(parts, stream=False)
    assert found["failures"] == []
    assert found["tokensPerSecond"] == pytest.approx(18 / found["seconds"])
    assert 0 < found["firstSeconds"] < 1


@pytest.mark.parametrize("parts", [[HEAD, *EVENTS], [HEAD + b"".join(EVENTS)], [HEAD, *EVENTS[:-1], b"0\r", b"\n\r\n"]])
def test_streams_are_counted(parts: list[bytes]) -> None:
    found = asked(parts, stream=True)
    assert found["failures"] == []
    assert found["pieces"] == 3
    assert found["firstSeconds"] > 0
    assert found["eachSeconds"] >= 0


def test_the_tail_is_what_one_in_a_hundred_exceeds() -> None:
    assert load.tail([float(number) for number in range(200, 0, -1)]) == 198
    assert load.tail([3.0]) == 3.0
    assert load.tail([]) == 0.0


def test_the_time_between_pieces_is_that_between_their_arrivals() -> None:
    apart = asked([HEAD, EVENTS[0], b"", b"", EVENTS[1], *EVENTS[2:]], stream=True)
    # Each part comes 5 ms after the one before it.
    assert apart["betweenTailSeconds"] >= 0.01
    assert apart["firstTailSeconds"] >= apart["firstSeconds"] > 0
    together = asked([HEAD + EVENTS[0] + EVENTS[1], *EVENTS[2:]], stream=True)
    assert together["betweenTailSeconds"] == 0


def test_what_has_to_hold_on_a_gpu_has_tails_and_no_stock_design() -> None:
    values = {SPEED: 1.0, FIRST: 1.0, EACH: 1.0, FRONT: 1.0, figures.FIRST_TAIL: 1.0, figures.BETWEEN_TAIL: 1.0}
    slow = {**values, SPEED: 0.97, figures.FIRST_TAIL: 1.2, figures.BETWEEN_TAIL: 1.04}
    found = [Measured("m", 1, 0, "vllm stream", values), Measured("m", 1, 0, "ours stream", slow)]
    words = {verdict.text.split(" 1.")[0]: verdict.word for verdict in figures.judge(found, None, figures.STRICT)}
    assert words == {
        "m: generate_stream 0.970 [0.970, 0.970] >= 0.98": MISSED,
        "m: TTFT generate_stream": KEPT,
        "m: ITL generate_stream": KEPT,
        "m: TTFT p99 generate_stream": MISSED,
        "m: ITL p99 generate_stream": KEPT,
    }
    assert {verdict.word for verdict in figures.judge(found, None)} == {KEPT}
    assert not any("stock" in one.title for one in figures.STRICT)
    assert "TTFT p99 OpenAI" in figures.table(found, figures.STRICT)
    assert figures.unsettled(found, figures.STRICT) == []


def test_failures_are_told() -> None:
    assert "503" in asked([FULL], stream=False, status=b"503 Service Unavailable")["failures"][0]
    assert asked([HEAD, b'data: {"error": "x"}\n\n', b"\r\n0\r\n\r\n"], stream=True)["failures"]


def test_document_has_the_host_the_promises_and_a_plot_of_each_model() -> None:
    found = [measured(target, 0, 10, clients) for target in ("vllm full", "ours full") for clients in (1, 8)]
    text = figures.document(found, figures.judge(found, None), "one chip, 2 cores, vLLM 1.2")
    assert text.startswith("one chip, 2 cores, vLLM 1.2.\n")
    assert "| m: generate 1.000 [1.000, 1.000] >= 1 | kept |" in text
    assert 'title "m: vllm full, ours full, over clients"' in text
