"""The program of the inspection pod: reads a model's config.json and safetensors headers, and says its shape.

    python3 -m triton_vllm_operator.inspect --repository=ORG/REPO [--revision=R]
    python3 -m triton_vllm_operator.inspect --folder=/model/llama --told-as=pvc://models/llama

Nothing of the repository is executed and no weights are read. The answer goes to the termination message, as
`plan/inspection_protocol.py` says.
"""
