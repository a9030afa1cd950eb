"""What each slot of a farmer has for itself: cores, GPUs, memory; only where a user asks for it.

Words: **holdings** are what one rank may use on its node; a **seat** is what one slot gets of them; a **portion** has the
seats of all slots of a rank.

What always holds: no core belongs to two slots of the ranks that were dealt to together, and a GPU only where a user asked
for parts of one. What cannot be dealt so is refused before a task is run.

Begin with `portions` (what a rank gets), then `holdings` (of what), `cores` and `gpus` (how); `room` is about tasks of
different sizes.
"""
