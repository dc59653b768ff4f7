"""
One file for each dialect, the base class that they share, and their registry.
"""
