from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster import settings


def test_two_checkouts_have_different_keys_and_one_has_always_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to(first)
    assert settings.checkout_key(first) != settings.checkout_key(second)
    assert settings.checkout_key(first) == settings.checkout_key(tmp_path / "b" / ".." / "a")
    assert settings.checkout_key(first) == settings.checkout_key(link)


def test_everything_lies_below_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/disk")
    assert settings.cache_root() == Path("/big/disk/triton-vllm-operator")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert settings.cache_root() == Path.home() / ".cache/triton-vllm-operator"
    assert settings.state_dir("ab12").is_relative_to(settings.cache_root())
