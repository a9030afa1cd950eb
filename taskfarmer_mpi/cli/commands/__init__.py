"""What is done to a work directory: one module per command of `taskfarmer-ctl`.

Such a module has two functions: ``add_arguments(parser)``, and ``run(arguments)``, which
prints and returns the exit code. Its name is the command's. A user's mistake is a `UserError`.
"""
