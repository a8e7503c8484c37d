"""Settings of every test. Property tests have no deadline, so that they pass on a loaded machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("project", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
