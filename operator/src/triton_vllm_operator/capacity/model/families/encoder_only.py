"""Encoders, which vLLM serves for embedding or classification only."""

from triton_vllm_operator.capacity.model.family import Family

FAMILIES = (
    Family(
        model_types=(
            "bart",
            "bert",
            "clip",
            "deberta",
            "dinov2",
            "distilbert",
            "electra",
            "roberta",
            "siglip",
            "t5",
            "vit",
        ),
        generates_text=False,
    ),
)
