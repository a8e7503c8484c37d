"""The shell around `reconcile`: kopf handlers, keyed queue, leader election, health, metrics, logs, settings."""
