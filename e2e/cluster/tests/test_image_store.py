"""Image stores of workers: one cluster each, taken over by the next."""

from __future__ import annotations

from e2e.cluster.kind import image_store


def test_a_cluster_keeps_its_image_store_while_the_node_image_is_the_same() -> None:
    folder = image_store.image_folder("sha256:one")
    assert image_store.choose(folder, set(), str(folder / "3")) == folder / "3"


def test_a_cluster_takes_the_first_image_store_that_is_not_used() -> None:
    folder = image_store.image_folder("sha256:one")
    assert image_store.choose(folder, set(), "") == folder / "0"
    assert image_store.choose(folder, {str(folder / "0"), str(folder / "2")}, "") == folder / "1"
    assert image_store.choose(folder, {str(folder / "0"), str(folder / "1")}, "") == folder / "2"


def test_another_node_image_has_image_stores_of_its_own() -> None:
    old, new = image_store.image_folder("sha256:one"), image_store.image_folder("sha256:two")
    assert image_store.choose(new, {str(old / "0")}, str(old / "1")) == new / "0"


def test_only_unused_image_stores_of_other_node_images_are_removed() -> None:
    old, new = image_store.image_folder("sha256:one"), image_store.image_folder("sha256:two")
    for store in (old / "0", old / "1", new / "0"):
        store.mkdir(parents=True)
    image_store.prune(new, {str(old / "1")})
    assert sorted(image_store.root().glob("*/*")) == sorted([old / "1", new / "0"])


def test_there_is_nothing_to_remove_before_the_first_cluster() -> None:
    image_store.prune(image_store.image_folder("sha256:one"), set())
    assert not image_store.root().exists()
