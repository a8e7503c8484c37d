"""Requests that come together are worked on together. Nothing else may use the machine meanwhile."""

from __future__ import annotations

from e2e.client import Client
from e2e.tests.deployments import STANDING, Namespace, ask

REQUESTS = 100
TOKENS = 24
SPEEDUP = 8.0


def test_a_hundred_requests_at_once_are_eight_times_as_fast_as_one_by_one(standing: Namespace, client: Client) -> None:
    requests = [
        {"url": standing.url(STANDING), "json": ask(f"Request {n}", max_tokens=TOKENS)} for n in range(REQUESTS)
    ]
    client.send(requests[:32], concurrency=32)  # warm
    alone, one_by_one = client.send(requests)
    together, at_once = client.send(requests, concurrency=REQUESTS)
    assert all(int(answer.json()["num_output_tokens"]) == TOKENS for answer in one_by_one + at_once)
    print(f"one by one {alone:.2f} s, at once {together:.2f} s, ratio {alone / together:.1f}")
    assert alone / together >= SPEEDUP
