"""
A tunnel: its description, what its connections are made with, and what joins their legs.
"""
