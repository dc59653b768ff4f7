"""
tlstunnel puts TLS around connections of programs that know none, or takes it off for servers that
know none, and performs the STARTTLS exchange of the protocol on the way.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
