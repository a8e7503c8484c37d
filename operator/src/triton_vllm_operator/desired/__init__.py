"""Builders of the child objects, one module per child. Pure: each returns a complete plain object."""
