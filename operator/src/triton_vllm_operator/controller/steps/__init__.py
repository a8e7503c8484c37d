"""The steps of a reconcile: claim, adopt, validate, inspect, plan, apply, observe, probe, read back, report."""
