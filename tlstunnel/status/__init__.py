"""
How the process is, for those who look at it: counters, a page, and what programs read.
"""
