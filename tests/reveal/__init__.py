"""
Tests for L{tlstunnel.reveal}.
"""
