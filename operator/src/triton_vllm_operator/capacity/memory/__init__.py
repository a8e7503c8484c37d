"""GPU memory of an engine: weights, KV cache, activations and the rest."""
