"""Settings shared by all tests."""

from hypothesis import HealthCheck, settings

# A reference that needs PyTorch; the tests read what it stored.
collect_ignore = ["make_pytorch_reference.py"]

# The first example of a property compiles kernels, which no deadline should count.
settings.register_profile("fastbp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastbp")
