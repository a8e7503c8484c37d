"""`import`: LLMDeployments for an existing Triton model repository."""
