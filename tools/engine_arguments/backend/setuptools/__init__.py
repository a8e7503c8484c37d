"""Stands in for setuptools while pip downloads a source distribution of vLLM: see build_meta."""
