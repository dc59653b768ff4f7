"""
Who is there: how the plaintext side is told it, in the words of its own protocol.
"""
