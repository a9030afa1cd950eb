"""The HTML report of a farm: one page that needs nothing else.

Begin with `contents` (what is shown, as values), then `page` (how it is written). `figures`, `slot_usage` and
`advice` are pure.
"""
