"""A client inside the cluster: HTTP requests from a pod, told and answered as JSON."""

from e2e.client.pod import Answer, Client

__all__ = ["Answer", "Client"]
