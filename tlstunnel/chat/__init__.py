"""
chat(8): its language, how a script is run, and the dialect that is made of one.
"""
