"""Which CUDA graphs are captured: as few for batches with a prompt as the padding allows, all of those that decode."""

from __future__ import annotations

import json
from collections import defaultdict
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.patches.cuda_graph_sizes import PADDED_SHARE, PADDED_TOKENS, install, spaced
from testing.server import script_lines

# What vLLM captures on an H200 with 512 sequences.
USUAL = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
SIZES = st.lists(st.integers(1, 2048), max_size=60)


def padding(sizes: list[int], batch: int) -> int:
    """Tokens that are added to a batch."""
    return min(size for size in sizes if size >= batch) - batch


@given(SIZES)
@example(USUAL)
def test_those_kept_are_some_of_all_ascending_and_end_with_the_largest(sizes: list[int]) -> None:
    kept = spaced(sizes)
    assert set(kept) <= set(sizes)
    assert kept == sorted(set(kept))
    assert kept[-1:] == sorted(sizes)[-1:]


@given(SIZES)
@example(USUAL)
@example([1, 100])
def test_no_batch_is_padded_further_than_allowed_where_all_sizes_keep_to_that(sizes: list[int]) -> None:
    kept = spaced(sizes)
    for batch in range(1, max(sizes, default=0) + 1):
        allowed = max(PADDED_TOKENS, PADDED_SHARE * batch)
        if padding(sizes, batch) <= allowed:
            assert padding(kept, batch) <= allowed, (batch, kept)


@given(SIZES)
@example(USUAL)
def test_none_of_those_kept_can_be_left_out(sizes: list[int]) -> None:
    kept = spaced(sizes)
    for before, one, after in zip([0, *kept], kept, kept[1:], strict=False):
        batch = before + 1
        close = after - batch <= max(PADDED_TOKENS, PADDED_SHARE * batch)
        assert not close, f"{after} serves what {one} is kept for"


def test_the_usual_sizes_become_fewer_than_half() -> None:
    assert len(spaced(USUAL)) * 2 < len(USUAL)


class Mode(Enum):
    """As vLLM's CUDAGraphMode."""

    FULL = 1
    PIECEWISE = 2


def manager_class(*modes: Mode) -> Any:
    """A stand-in for vLLM's manager with graphs of these modes, one for each size."""

    class Manager:
        def __init__(self, sizes: list[int]) -> None:
            self.compilation_config = SimpleNamespace(cudagraph_capture_sizes=sizes)
            self._capture_descs: dict[Mode, list[Any]] = {}
            self._candidates: dict[tuple[int, int], list[Any]] = {}
            self._init_candidates()

        def _init_candidates(self) -> None:
            """Plan again."""
            assert self._capture_descs == {}
            sizes = self.compilation_config.cudagraph_capture_sizes
            for mode in modes:
                found = [SimpleNamespace(cg_mode=mode, num_tokens=size) for size in sizes]
                self._capture_descs[mode] = found
                for batch in range(1, max(sizes) + 1):
                    fitting = next(each for each in found if each.num_tokens >= batch)
                    self._candidates.setdefault((batch, 0), []).append(fitting)

    return Manager


def test_of_a_stand_in_manager_the_pieces_are_spaced_and_come_after_the_full_graphs() -> None:
    plain, changed = manager_class(Mode.FULL, Mode.PIECEWISE), manager_class(Mode.FULL, Mode.PIECEWISE)
    install(changed, Mode.FULL, Mode.PIECEWISE)
    before, after = plain(USUAL), changed(USUAL)
    assert after._capture_descs[Mode.FULL] == before._capture_descs[Mode.FULL]
    assert [each.num_tokens for each in after._capture_descs[Mode.PIECEWISE]] == spaced(USUAL)
    assert set(after._candidates) == set(before._candidates)
    for (batch, _), found in after._candidates.items():
        assert [each.cg_mode for each in found] == [Mode.FULL, Mode.PIECEWISE]
        assert found[0] == before._candidates[batch, 0][0]
        assert found[1].num_tokens == min(size for size in spaced(USUAL) if size >= batch)
    assert after.compilation_config.cudagraph_capture_sizes == USUAL


@pytest.mark.parametrize("modes", [[Mode.PIECEWISE], [Mode.FULL]])
def test_a_stand_in_manager_with_graphs_of_one_mode_keeps_all(modes: list[Mode]) -> None:
    changed = manager_class(*modes)
    install(changed, Mode.FULL, Mode.PIECEWISE)
    assert [each.num_tokens for each in changed(USUAL)._capture_descs[modes[0]]] == USUAL


def test_a_plan_that_fails_in_a_stand_in_manager_leaves_the_configured_sizes() -> None:
    class Failing:
        compilation_config = SimpleNamespace(cudagraph_capture_sizes=USUAL)
        _capture_descs: ClassVar[Any] = {Mode.FULL: [], Mode.PIECEWISE: []}
        _candidates: ClassVar[Any] = {}

        def _init_candidates(self) -> None:
            if self.compilation_config.cudagraph_capture_sizes != USUAL:
                raise RuntimeError("no plan")

    install(Failing, Mode.FULL, Mode.PIECEWISE)
    with pytest.raises(RuntimeError, match="no plan"):
        Failing()._init_candidates()
    assert Failing.compilation_config.cudagraph_capture_sizes == USUAL


ENGINE = """
import json
from types import SimpleNamespace
from vllm.config.compilation import CUDAGraphMode
from vllm.v1.worker.gpu import cudagraph_utils
from backend.patches.cuda_graph_sizes import install

SIZES = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
Manager = cudagraph_utils.CudaGraphManager

def plan(mode):
    made = Manager.__new__(Manager)
    made.__dict__.update(
        vllm_config=SimpleNamespace(
            speculative_config=None, num_speculative_tokens=0, cache_config=SimpleNamespace(use_kda_recoverssm=False)
        ),
        compilation_config=SimpleNamespace(cudagraph_capture_sizes=list(SIZES), max_cudagraph_capture_size=512),
        cudagraph_mode=mode, max_num_reqs=256, decode_query_len=1, varlen_decode=False, ubatch_runner=None,
        lora_capture_cases=[0, 2], _candidates={}, _capture_descs={},
    )
    made._init_candidates()
    descriptors = {mode.name: [str(each) for each in found] for mode, found in made._capture_descs.items()}
    candidates = [
        [key, [(each.cg_mode.name, each.num_tokens) for each in found]] for key, found in made._candidates.items()
    ]
    return {"descriptors": descriptors, "candidates": candidates}

modes = [CUDAGraphMode.FULL_AND_PIECEWISE, CUDAGraphMode.PIECEWISE, CUDAGraphMode.FULL, CUDAGraphMode.NONE]
before = {mode.name: plan(mode) for mode in modes}
install(Manager, CUDAGraphMode.FULL, CUDAGraphMode.PIECEWISE)
print(json.dumps([before, {mode.name: plan(mode) for mode in modes}]))
"""


@pytest.mark.engine
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_vllms_own_plan_keeps_every_full_graph_and_has_pieces_for_every_batch(tmp_path: Path, variant: str) -> None:
    before, after = json.loads(script_lines(tmp_path, ENGINE, variant=variant)[-1])
    for mode in ("PIECEWISE", "FULL", "NONE"):
        assert after[mode] == before[mode]
    old, new = before["FULL_AND_PIECEWISE"], after["FULL_AND_PIECEWISE"]
    assert new["descriptors"]["FULL"] == old["descriptors"]["FULL"]
    assert len(new["descriptors"]["PIECEWISE"]) * 2 < len(old["descriptors"]["PIECEWISE"])
    assert set(new["descriptors"]["PIECEWISE"]) < set(old["descriptors"]["PIECEWISE"])
    assert new["candidates"] != old["candidates"]
    offered = defaultdict(list)
    for (tokens, loras), found in new["candidates"]:
        names = [name for name, _ in found]
        assert names == sorted(names), "FULL comes first"
        assert len(found) == len(set(map(tuple, found)))
        offered[loras].append(tokens)
        assert "PIECEWISE" in names
        assert ("FULL" in names) == (tokens <= 256)
    assert set(offered) == {0, 2}
    for tokens in offered.values():
        assert sorted(tokens) == [*range(513)]
