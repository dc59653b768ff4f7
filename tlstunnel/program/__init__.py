"""
The process: its options, its services, its signals, its log.
"""
