"""
For tests of dialects, also those of third parties: L{tlstunnel.testing.memory} has a driver that
takes a role through its dialogue on legs in memory (L{tlstunnel.testing.legs}),
L{tlstunnel.testing.dialogues} small things around it, and L{tlstunnel.testing.conformance} the
suite that every dialect passes.  What every leg passes is in L{tlstunnel.testing.contract}.
"""
