"""What this node has, limits and counts for the process that asks: CPUs and cores, memory, kills for lack of it, GPUs.

What always holds: nothing here changes anything, and what cannot be found out is no limit.

Begin with `cgroups`; `topology`, `memory` and `devices` say what there is.
"""
