"""What holds for every test: a property is judged by its examples, never by how long one of them took.

Read by pytest before any test module, whose own `settings` start from this profile.
"""

from hypothesis import HealthCheck, settings

# By default Hypothesis fails an example that takes 200 ms, and drawing that is slow: on a busy machine any may.
settings.register_profile("any-machine", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
