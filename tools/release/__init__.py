"""Adds a release to the catalog and checks every table that depends on it: `make release`, `make release-check`."""
