"""The kind cluster of the end-to-end tests, from nothing to ready."""
