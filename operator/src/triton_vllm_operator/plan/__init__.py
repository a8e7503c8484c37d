"""Layer 3, pure: decisions. Numbers and objects come in, actions come out."""
