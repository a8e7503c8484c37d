"""Helpers for tests against the real server, used here and by the whole-cluster suite."""
