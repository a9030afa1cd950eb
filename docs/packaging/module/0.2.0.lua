-- Lmod: as taskfarmer-mpi/0.2.0.lua below a folder of MODULEPATH. Made for a virtual environment in `base`.
local base = "/opt/taskfarmer-mpi/0.2.0"

whatis("Name: taskfarmer-mpi")
whatis("Version: 0.2.0")
whatis("Description: a task farmer for many nodes, launched by MPI, without a server")
help([[
srun -N5 taskfarmer-mpi mywork.tasks
man taskfarmer-mpi
]])

prepend_path("PATH", pathJoin(base, "bin"))
prepend_path("MANPATH", pathJoin(base, "share/man"))
