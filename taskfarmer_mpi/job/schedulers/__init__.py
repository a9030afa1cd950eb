"""What a farm asks of a batch system, one module for each: when the job ends and, of Slurm, to take nodes back.

`found` says in whose job this process is. Slurm was tried; the others are by their documentation, and by stand-ins in tests.
"""
