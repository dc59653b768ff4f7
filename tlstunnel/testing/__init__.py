"""
For tests of dialects, also those of third parties: L{tlstunnel.testing.memory} has legs in memory
and a driver that takes a role through its dialogue, L{tlstunnel.testing.dialogues} small things
around them, and L{tlstunnel.testing.conformance} the suite that every dialect passes.
"""
