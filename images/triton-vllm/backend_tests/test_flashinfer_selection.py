"""vLLM's own kernels are preferred to those that FlashInfer compiles first, unless the latter are installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from backend.patches.flashinfer_selection import PRECOMPILED, install


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What vLLM asks whether FlashInfer can be used; here it can."""
    found = ModuleType("vllm.utils.flashinfer")
    found.has_flashinfer = lambda: True  # type: ignore[attr-defined]
    for name, module in (
        ("vllm", ModuleType("vllm")),
        ("vllm.utils", ModuleType("vllm.utils")),
        (found.__name__, found),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys.modules["vllm"], "utils", sys.modules["vllm.utils"], raising=False)
    monkeypatch.setattr(sys.modules["vllm.utils"], "flashinfer", found, raising=False)
    return found


def test_vllm_is_told_that_it_cannot_compile_for_flashinfer(wrapper: ModuleType) -> None:
    assert install()
    assert not wrapper.has_flashinfer()
    wrapper.has_flashinfer.cache_clear()  # vLLM's is cached, and some callers rely on it


def test_kernels_of_flashinfer_that_are_installed_are_used(
    wrapper: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / PRECOMPILED).mkdir()
    (tmp_path / PRECOMPILED / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not install()
    assert wrapper.has_flashinfer()
