"""
Configurations of other tunnels, turned into ours.
"""
