"""`render`: every object that the operator would apply."""
