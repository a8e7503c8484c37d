"""Layer 1: the words of the domain. Typed custom resource, names, conditions and the CRD made from them."""
