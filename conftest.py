"""Settings of every test: property tests have no deadline, since machines are shared; what a loaded one does is no bug."""

from hypothesis import HealthCheck, settings

settings.register_profile("project", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
