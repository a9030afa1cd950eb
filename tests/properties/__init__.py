"""Properties: what holds of lists and journals whatever happens, and of parsers whatever they read.

`kernel` lets real modules fail at any of their system calls, `actors` are farmers and commands without processes, `truth`
is what must be true; `test_protocol` puts them together in any order.
"""
