"""Defaults and choices that the command line names before anything of the farm is imported."""

SLOTS = 8
"""Slots of a farmer."""
PROGRESS_MODES = ("auto", "bar", "lines", "none")
"""How progress is shown."""
