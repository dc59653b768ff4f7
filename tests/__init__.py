"""
The tests, one package for each room, and what they have in common.
"""

from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("tlstunnel", deadline=None)
settings.load_profile("tlstunnel")
