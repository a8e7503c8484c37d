"""`python -m triton_vllm_operator`: the same commands as `kubectl llm`."""

import sys

try:
    from triton_vllm_operator.cli.main import app
except ModuleNotFoundError as error:
    if error.name not in {"typer", "rich"}:
        raise
    sys.exit("the command line needs typer and rich: pip install 'triton-vllm-operator[cli]'")

if __name__ == "__main__":
    app(prog_name="python -m triton_vllm_operator")
