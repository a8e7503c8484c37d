"""Between Triton and the engine: requests, their tensors, responses."""
