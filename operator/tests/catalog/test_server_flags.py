"""Flags of tritonserver: which are taken, and why another is not."""

from pathlib import Path

import pytest

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import server_flags

# What `tritonserver --help` of 2.51.0 (release 24.10) prints.
PRINTED = (Path(__file__).parent / "fixtures" / "tritonserver-2.51.0-flags.txt").read_text().split()

REFUSED = [
    ("--http-port=9000", Reason.FLAG_OWNED),
    ("http-port=9000", Reason.FLAG_OWNED),
    ("--model-control-mode=explicit", Reason.FLAG_OWNED),
    ("--backend-directory=/tmp", Reason.FLAG_REFUSED),
    ("--cache-config=local,size=1", Reason.FLAG_WITHOUT_EFFECT),
    ("--backend-config=onnxruntime,x=1", Reason.FLAG_WITHOUT_EFFECT),
    ("--http-restricted-api=health:key=value", Reason.FLAG_REFUSED),
    ("--http-thread-count", Reason.FLAG_VALUE),
    ("--http-thread-count=", Reason.FLAG_VALUE),
    ("--http-thread-count=8.5", Reason.FLAG_VALUE),
    ("--grpc-use-ssl=yes", Reason.FLAG_VALUE),
    ("--log-format=json", Reason.FLAG_VALUE),
    ("--grpc_use_ssl=true", Reason.FLAG_MISSPELT),
    ("--no-such-thing=1", Reason.FLAG_UNKNOWN),
    ("", Reason.FLAG_UNKNOWN),
]


@pytest.mark.parametrize(("flag", "reason"), REFUSED)
def test_a_wrong_flag_is_refused(flag: str, reason: Reason) -> None:
    [found] = server_flags.check([flag], "26.08")
    assert (found.reason, found.rejects, found.field) == (reason, True, "spec.server.extraArgs[0]")


def test_right_flags_pass_and_the_place_of_a_wrong_one_is_named() -> None:
    flags = ["--http-thread-count=16", "--log-format=ISO8601", "--backend-config=python,x=1", "--grpc-use-ssl=true"]
    assert server_flags.check(flags, "26.08") == []
    [found] = server_flags.check([*flags, "--id"], "26.08")
    assert found.field == "spec.server.extraArgs[4]"


def test_a_risky_flag_is_only_warned_about() -> None:
    [found] = server_flags.check(["--cuda-memory-pool-byte-size=0:1024"], "26.08")
    assert (found.reason, found.rejects) == (Reason.FLAG_RISKY, False)


@pytest.mark.parametrize(("server_code", "refused"), [("25.10", True), ("25.11", False)])
def test_a_flag_is_taken_from_the_release_on_that_has_it(server_code: str, refused: bool) -> None:
    found = server_flags.check(["--http-max-input-size=1"], server_code)
    assert [problem.reason for problem in found] == ([Reason.FLAG_TOO_NEW] if refused else [])


def test_the_table_holds_what_the_server_prints_and_newer_flags_only() -> None:
    table = server_flags.flags()
    assert set(PRINTED) <= set(table)
    assert all(table[name].since is None for name in PRINTED)
    assert all(table[name].since for name in set(table) - set(PRINTED))


def test_every_flag_that_is_not_free_says_why() -> None:
    assert not [name for name, flag in server_flags.flags().items() if flag.use != "allowed" and not flag.why]
