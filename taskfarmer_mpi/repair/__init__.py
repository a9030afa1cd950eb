"""Lists and journals that another program or a broken disk damaged are compared, and mended.

Words: **damage** is all that is wrong with the lists of a work directory; a **fault** is one thing of it.

What always holds: nothing is changed while a farmer lives, nor where the journals cannot decide; a damaged file is kept
beside the new one.

Begin with `damage` and `journals` (what is wrong, from bytes alone), then `mending`.
"""
