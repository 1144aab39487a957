"""Can it be stopped? Graphs that resist, and a suite that stops them and looks at what is left.

`manage.py stop_conformance` runs it; `hostile` has the graphs, `conformance` the measuring.
"""
