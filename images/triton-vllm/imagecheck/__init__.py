"""The check of the image: what cannot start on a GPU is found where there is none, each time that the image is built.

`python -m imagecheck` runs each part in a process of its own and ends with 1 when one found something.
"""
