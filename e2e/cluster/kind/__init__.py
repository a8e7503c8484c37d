"""The kind cluster and its nodes."""
