"""
Sockets and time: listening, dialling, one connection with or without TLS, deadlines.
"""
