"""The validating webhook: server, certificate, review and verdict."""
