"""Image stores of workers: one cluster each, taken over by the next."""

from __future__ import annotations

from e2e.cluster import slots


def test_a_cluster_keeps_its_slot_while_the_node_image_is_the_same() -> None:
    folder = slots.image_folder("sha256:one")
    assert slots.choose(folder, set(), str(folder / "3")) == folder / "3"


def test_a_cluster_takes_the_first_slot_that_nobody_else_uses() -> None:
    folder = slots.image_folder("sha256:one")
    assert slots.choose(folder, set(), "") == folder / "0"
    assert slots.choose(folder, {str(folder / "0"), str(folder / "2")}, "") == folder / "1"
    assert slots.choose(folder, {str(folder / "0"), str(folder / "1")}, "") == folder / "2"


def test_another_node_image_has_slots_of_its_own() -> None:
    old, new = slots.image_folder("sha256:one"), slots.image_folder("sha256:two")
    assert slots.choose(new, {str(old / "0")}, str(old / "1")) == new / "0"


def test_only_unused_slots_of_other_node_images_are_removed() -> None:
    old, new = slots.image_folder("sha256:one"), slots.image_folder("sha256:two")
    for slot in (old / "0", old / "1", new / "0"):
        slot.mkdir(parents=True)
    slots.prune(new, {str(old / "1")})
    assert sorted(slots.root().glob("*/*")) == sorted([old / "1", new / "0"])


def test_there_is_nothing_to_remove_before_the_first_cluster() -> None:
    slots.prune(slots.image_folder("sha256:one"), set())
    assert not slots.root().exists()
