"""What single tasks have otherwise than the others, as `#TF` lines say it, for all farmers of a work directory.

Words: a **directive** is a `#TF` line; what tasks have by it are their **settings**. They are kept in the work directory, by
ID, so that all farmers go by the same ones, and added tasks have theirs.

What always holds: settings are on disk before their tasks are; those of tasks that are there change only while nobody works.

Begin with `book`; what a tasklist says is read in `tasklists/directives`, and what the words mean in `policies/settings`.
"""
