"""What people type: the only place that prints or exits.

`main` is `taskfarmer-mpi`, `ctl` is `taskfarmer-ctl`, and each of its commands is a module of `commands`.

What always holds: a user's mistake is one line and exit code 2, before anything was touched.
"""
