"""
A small authority that gives certificates for minutes to tunnels that make their own keys.
"""
