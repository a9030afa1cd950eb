"""Lists that another program damaged are compared with the journals, and mended.

Words: **damage** is all that is wrong with the lists of a work directory; a **fault** is one thing of it.

What always holds: nothing is changed while a farmer lives, nor where the journals cannot decide; the damaged list is kept
beside the new one.

Begin with `damage` (what is wrong, from bytes alone), then `mending`.
"""
