"""
The pool as a service: programs hand over connections, and get plaintext and identities in return.
"""
