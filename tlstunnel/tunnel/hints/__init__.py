"""
What to do about a connection that failed: a hint for the log, from tables by topic.

A hint says what is likely, in one line, to an administrator who knows the options.  Where there is
nothing to do there is none; what may be an attack is called so first of all.
"""
