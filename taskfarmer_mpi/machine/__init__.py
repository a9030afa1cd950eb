"""What the kernel of this node limits and counts for the process that asks: CPU time, CPUs, kills for lack of memory.

What always holds: nothing here changes anything, and what cannot be found out is no limit.

Begin with `cgroups`.
"""
