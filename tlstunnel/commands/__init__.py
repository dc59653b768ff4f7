"""
The commands of the tlstunnel program, one a module.
"""
