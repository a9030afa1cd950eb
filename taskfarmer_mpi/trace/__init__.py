"""The trace of a work directory, which Perfetto shows: `timeline.json`.

Words: a **lane** is a thread in Perfetto, a **slice** a run in it. What always holds: the trace is a JSON list with
one event a line; it depends on the journals alone, so merging again gives the same bytes; events of PyTaskFarmers are
kept.

Begin with `timeline` (the merge), then `builder` and `events`.
"""
