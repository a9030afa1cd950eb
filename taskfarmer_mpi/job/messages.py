"""What the ranks of a job say to each other while they work, and how it is written as the name of a file.

A message is a kind and something that JSON can hold. In a name they follow the sender and a number that grows with each
message of that sender: ``3.17.idle.[0, 8, 120, 0, 95.1, true]``. What would not fit into a name is cut off.
"""

from __future__ import annotations

import json
from typing import Any

from taskfarmer_mpi.common.values import Value

TEXT_LENGTH = 120
"""So many characters of a reason fit into a name, if need be with `?` for those that JSON writes longer."""
_LONGEST = 200


class Letter(Value):
    """A message as the name of a file has it."""

    sender: int
    number: int
    kind: str
    content: Any = None


def encode_name(letter: Letter) -> str:
    """Return the name of a file that is a message."""
    content = letter.content[:TEXT_LENGTH] if isinstance(letter.content, str) else letter.content
    text = json.dumps(content).replace("/", "\\u002f")  # a name has no slashes, and JSON has them in texts only
    if len(text) > _LONGEST:
        text = json.dumps(plain(content))
    return f"{letter.sender}.{letter.number}.{letter.kind}.{text}"


def plain(text: str) -> str:
    """Return the first `TEXT_LENGTH` characters of a text, with `?` for those that JSON writes longer."""
    return "".join(character if _is_plain(character) else "?" for character in text[:TEXT_LENGTH])


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isprintable() and character not in '"\\/'


def parse_name(name: str) -> Letter | None:
    """Return the message that a file's name is; None if it is none."""
    try:
        sender, number, kind, text = name.split(".", 3)
        return Letter(int(sender), int(number), kind, json.loads(text))
    except (ValueError, RecursionError):
        return None
