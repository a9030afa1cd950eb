"""The commands of `taskfarmer-ctl` that change what is to be done of a list, beside those that add tasks or put them back.

As in `commands`, each module is one command: its docstring is the help, `add_arguments` and `run` do the rest.
"""
