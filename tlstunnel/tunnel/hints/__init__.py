"""
What to do about a connection that failed: a hint for the log, from tables by topic.

A hint says what is likely, in one line, to an administrator who knows the options.  Where nothing
is likely there is none; above all there is none for attacks.
"""
