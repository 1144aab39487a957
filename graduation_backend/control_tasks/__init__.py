"""What `manage.py control_tasks` does, one module for each kind of subcommand.

The words are in `arguments`, the exit codes in `exits`, everything that is printed goes through `terminal`.
"""
