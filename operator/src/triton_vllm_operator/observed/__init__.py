"""Layer 2, pure: readers of live objects, the ordered checks on them, and the status that follows."""
