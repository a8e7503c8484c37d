"""The program of the inspection pod: reads a model's config.json and safetensors headers, and reports its shape.

    python3 -m triton_vllm_operator.inspect --repository=ORG/REPO [--revision=R]
    python3 -m triton_vllm_operator.inspect --folder=/model/llama --display-name=URI

No code of the repository is executed and no weights are read. The result is the termination message, in the format of
`plan/inspection_protocol.py`.
"""
