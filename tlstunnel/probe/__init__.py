"""
Looking at a server as a tunnel would find it: what it speaks, what it shows, and whether to trust
it.
"""
