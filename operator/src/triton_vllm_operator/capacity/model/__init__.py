"""What a model is, read from its config.json and safetensors headers."""
