"""What tritonserver loads as the backend `vllm`; everything is in the package `backend`.

The python backend's stub starts with an ASCII locale, under which torch does not import: the locale comes first.
"""

import locale

locale.setlocale(locale.LC_ALL, "C.UTF-8")

from backend.triton.model import TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
