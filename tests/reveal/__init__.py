"""
How the plaintext side is told who is there.
"""
