"""
The real servers, a module each.
"""
