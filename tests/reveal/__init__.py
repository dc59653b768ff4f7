"""
How a backend is told who is there.
"""
