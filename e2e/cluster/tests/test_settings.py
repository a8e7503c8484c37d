from __future__ import annotations

from pathlib import Path

from devtools import cache
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


def test_the_state_of_a_checkout_is_in_the_cache_folder() -> None:
    assert settings.state_dir("ab12").is_relative_to(cache.root())
