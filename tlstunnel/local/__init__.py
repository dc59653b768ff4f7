"""
Other processes of this host that connect to UNIX sockets of ours: who they are, and how much each
user may have.
"""
