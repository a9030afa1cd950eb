"""What people type: the only place that prints or exits.

`main` is `taskfarmer-mpi` and `ctl` is `taskfarmer-ctl`. Both go through `entry`, which sees to it that nothing goes wrong
before a command begins; then `farm` (its command line is in `options`) runs one rank, and `control` one of `commands`.

What always holds: a user's mistake is one line (and one with a hint), and exit code 2, before anything was touched; what a
command does is imported when it is to be done.

Begin with `farm` (from options to exit code) or `control` (the table of commands).
"""
