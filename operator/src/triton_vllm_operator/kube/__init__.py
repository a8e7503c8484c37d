"""The only Kubernetes I/O of the operator: client, stores fed by watches, events, errors."""
