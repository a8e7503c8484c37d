"""Layer 2, pure: builders of the child objects. One file a child; a complete plain object comes out."""
