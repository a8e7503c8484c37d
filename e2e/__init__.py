"""The kind cluster that proves the operator, and the tests that run on it."""
