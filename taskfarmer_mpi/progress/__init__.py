"""How far the whole work directory is, shown by the rank that leads while it works.

What always holds: no lock is taken, and a look is not repeated before 100 times what it took.

Begin with `display`, then `counting`.
"""
