"""
Tests for the room C{tlstunnel.status}.
"""
