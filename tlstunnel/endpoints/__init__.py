"""
Endpoints: verified TLS, and STARTTLS, for any program on Twisted, by a string.
"""
