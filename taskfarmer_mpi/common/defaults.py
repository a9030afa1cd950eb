"""Defaults and choices that the command line names before anything of the farm is imported."""

SLOTS = 8
"""Slots of a farmer."""
PROGRESS_MODES = ("auto", "bar", "lines", "none")
"""How progress is shown."""
GRACE = 15.0
"""How long before the end of the batch job a farmer stops [s]."""
