"""The kind cluster of the end-to-end tests, from nothing to ready."""

from e2e.cluster.cluster import Cluster

__all__ = ["Cluster"]
