"""`explain`: why an LLMDeployment is not Ready."""
