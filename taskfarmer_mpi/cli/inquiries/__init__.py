"""The commands of `taskfarmer-ctl` that ask about single tasks or wait for them; they change nothing.

As in `commands`, each module is one command: its docstring is the help, `add_arguments` and `run` do the rest.
"""
