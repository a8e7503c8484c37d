"""What the commands share: manifests, GPU nodes, the cluster, options, errors and exit codes."""
