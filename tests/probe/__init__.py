"""
Tests of L{tlstunnel.probe}.
"""
