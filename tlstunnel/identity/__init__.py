"""
Who somebody is, what proves it, and where that is kept.
"""
