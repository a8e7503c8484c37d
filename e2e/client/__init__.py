"""A client inside the cluster: HTTP requests from a pod, with plan and answers as JSON."""

from e2e.client.pod import Answer, Client

__all__ = ["Answer", "Client"]
