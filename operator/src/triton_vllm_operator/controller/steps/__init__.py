"""The steps of a reconcile, in their order: validate, inspect, plan, apply, observe, probe, read back, report."""
