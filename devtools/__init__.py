"""Helpers of the development tools: the operator and the images do not contain them. Standard library only."""
