"""For all tests: no example has a deadline, as what a crowded machine takes is no fault of the code."""

from hypothesis import settings

settings.register_profile("crowded", deadline=None)
settings.load_profile("crowded")
