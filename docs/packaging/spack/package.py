from spack.package import *


class PyTaskfarmerMpi(PythonPackage):
    """A task farmer for many nodes: every line of a tasklist is run once, on all ranks of an MPI job."""

    pypi = "taskfarmer-mpi/taskfarmer_mpi-0.2.0.tar.gz"

    license("MIT", checked_by="the release")

    version("0.2.0", sha256="0000000000000000000000000000000000000000000000000000000000000000")

    variant("bar", default=False, description="progress bar")
    variant("report", default=False, description="HTML reports")
    variant("tui", default=False, description="full-screen view of a farm")

    depends_on("python@3.11:", type=("build", "run"))
    depends_on("py-setuptools@77:", type="build")
    depends_on("py-filelock@4:4", type=("build", "run"))
    depends_on("py-mpi4py@4:", type=("build", "run"))
    depends_on("py-rich@13:", type=("build", "run"), when="+bar")
    depends_on("py-jinja2@3.1:", type=("build", "run"), when="+report")
    depends_on("py-textual@6:", type=("build", "run"), when="+tui")
