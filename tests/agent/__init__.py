"""
Tests for L{tlstunnel.agent}.
"""
