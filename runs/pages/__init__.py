"""The pages for people: their runs, one run as it happens, starting one and stopping it.

They extend the project's `base.html`, work as plain HTML, and are wired in by `include("runs.pages.urls")`.
"""
