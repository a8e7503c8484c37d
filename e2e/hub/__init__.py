"""A Hugging Face hub inside the cluster, with tiny models made on the spot."""
