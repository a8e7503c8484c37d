"""GPUs: products, MIG slices, DRA devices and what nodes offer."""
