"""The Docker daemon, its OCI runtime, and the cluster's network in it."""
