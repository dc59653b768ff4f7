"""
The tests, one package for each room, and what they have in common.
"""

import os
import signal

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code, and what fails is to
# fail again: HYPOTHESIS_PROFILE=search looks for new examples in every run.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeat", settings.get_profile("search"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

# A shell lets what it runs in the background ignore the interrupt, and so would every program that
# a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
