"""
Tests for L{tlstunnel.convert}.
"""
