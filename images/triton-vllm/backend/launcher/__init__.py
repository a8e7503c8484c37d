"""The entry point: checks, the supervisor of tritonserver, causes of failures."""
