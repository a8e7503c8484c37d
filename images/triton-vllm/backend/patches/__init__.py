"""Every change that the backend makes to vLLM's code at run time: one patch per module.

Each module's docstring says what the patch changes and why, and its `UPSTREAM` says with which versions it was checked
and on what it relies: attributes, parameters, lines of source. `backend_tests/test_patches.py` compares that with the
installed packages, so an upgrade of vLLM that moves one of them fails there and not in a pod.

What fits an option of vLLM is not here: `worker_extension_cls`, environment variables, exception handlers of FastAPI.
The image's build has two more patches, which no server runs: `without_gpu.py` and `testing/`.
"""
