"""Writes which model types the engine knows by itself: `python -m tools.model_types ENGINE_PYTHON...`

ENGINE_PYTHON is the interpreter of an environment with vLLM. A type that is known to any of them is kept, so that the
list errs on the side of letting a model through.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "operator" / "src" / "triton_vllm_operator" / "catalog" / "data" / "model_types.json"
_ASK = """
import json
import transformers
import vllm
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from vllm.transformers_utils.config import _CONFIG_REGISTRY
print(json.dumps({
    "sources": [f"vllm {vllm.__version__}", f"transformers {transformers.__version__}"],
    "types": sorted({*CONFIG_MAPPING_NAMES, *_CONFIG_REGISTRY}),
}))
"""


def ask(python: str) -> dict[str, list[str]]:
    """What one environment knows."""
    out = subprocess.run([python, "-c", _ASK], check=True, capture_output=True, text=True).stdout
    found: dict[str, list[str]] = json.loads(out.splitlines()[-1])
    return found


def text(answers: list[dict[str, list[str]]]) -> str:
    """The file, the same for the same answers."""
    body = {
        "about": "Values of model_type in config.json that vLLM or Transformers load without code of the repository. "
        "Written by tools/model_types.py.",
        "sources": sorted({source for answer in answers for source in answer["sources"]}),
        "types": sorted({kind for answer in answers for kind in answer["types"]}),
    }
    return json.dumps(body, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text([ask(python) for python in sys.argv[1:]]))
