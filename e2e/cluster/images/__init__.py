"""Programs built from Go modules, and the images that nodes and pods run."""
