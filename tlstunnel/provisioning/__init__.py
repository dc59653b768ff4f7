"""
Identities, trust and rules that come from a directory (RFC 4533) into a pool.
"""
