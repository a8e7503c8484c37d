from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from e2e.cluster import settings
from e2e.cluster.images import node_image

LISTING = '{"images": ["registry.k8s.io/kube-proxy:v1.34.4", "registry.k8s.io/coredns/coredns:v1.12.1"]}'


def test_images_are_named_as_kubeadm_asks_for_them() -> None:
    assert node_image.kubeadm_images(LISTING) == {
        "kube-proxy": "registry.k8s.io/kube-proxy:v1.34.4",
        "coredns": "registry.k8s.io/coredns/coredns:v1.12.1",
    }


def test_the_pause_image_is_the_one_that_containerd_names() -> None:
    assert (
        node_image.pause_image('[x]\n  sandbox_image = "registry.k8s.io/pause:3.10"\n') == "registry.k8s.io/pause:3.10"
    )
    with pytest.raises(ValueError, match="has no sandbox_image"):
        node_image.pause_image("version = 2")


def test_a_programs_image_has_nothing_but_the_program() -> None:
    assert node_image.program_dockerfile("etcd", "") == (
        "FROM scratch\nCOPY etcd /usr/local/bin/etcd\nENV PATH=/usr/local/bin\n"
    )
    assert node_image.program_dockerfile("coredns", "coredns").endswith('ENTRYPOINT ["/usr/local/bin/coredns"]\n')


def test_the_node_image_is_made_again_exactly_when_something_in_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "node"
    shutil.copytree(settings.NODE_FILES, files)
    before = node_image.own_name()
    monkeypatch.setattr(settings, "NODE_FILES", files)
    assert node_image.own_name() == before
    (files / "go/helm/go.sum").write_text("other")  # helm is not on the nodes
    assert node_image.own_name() == before
    (files / "go/etcd/go.sum").write_text("other")
    with_etcd = node_image.own_name()
    (files / "cluster-files/kind/bin/pod-network.sh").write_text("other")
    assert len({before, with_etcd, node_image.own_name()}) == 3
