"""A build backend that builds nothing.

pip insists on metadata before it hands over a source distribution, and vLLM's own build would import torch for that.
The file PKG-INFO of every source distribution is that metadata, so it is copied and no code of the package runs.
"""

import shutil
from pathlib import Path


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: object = None) -> str:
    headers = Path("PKG-INFO").read_text(encoding="utf-8").splitlines()
    version = next(line.removeprefix("Version: ") for line in headers if line.startswith("Version: "))
    folder = Path(metadata_directory) / f"vllm-{version}.dist-info"
    folder.mkdir()
    shutil.copy("PKG-INFO", folder / "METADATA")
    return folder.name
