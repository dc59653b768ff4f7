"""
OpenSSL, and nothing of connections or protocols: the only package that touches it.
"""
