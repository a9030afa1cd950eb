"""A task farmer for many nodes: every line of a tasklist is run once, and nothing is lost when a job is killed."""

__version__ = "0.1.0"
