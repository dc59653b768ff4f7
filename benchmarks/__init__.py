"""
tlstunnel side by side with the tunnels written in C, on one machine, in one run.

C{python -m benchmarks} starts every contender in turn on the same certificate, puts the same load
on it and asks the operating system what it cost.  With C{--against} the contenders are the checkout
and an earlier commit of it.  How it is measured, and why a slow load generator changes nothing, is
told in C{docs/performance.md}.

Nothing here is part of the product, and nothing of the product is imported: tlstunnel is a
program like the others.
"""
