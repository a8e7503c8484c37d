"""Settings of every test. Property tests have no deadline: machines are shared, and a loaded one is no defect."""

from hypothesis import HealthCheck, settings

settings.register_profile("project", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
