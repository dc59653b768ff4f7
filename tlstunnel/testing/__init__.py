"""
For tests of dialects, also those of third parties: legs in memory, a driver that takes a role
through its dialogue, and the conformance suite that every dialect passes.
"""
