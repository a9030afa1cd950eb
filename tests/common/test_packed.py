"""Much text in little memory."""

import random
import tracemalloc

import pytest

from taskfarmer_mpi.common.packed import PackedBlocks, PackedTexts

MANY = 60_000
"""Texts of this number are more than what is kept as it is."""


def packed(texts: list[bytes], sizes: random.Random) -> PackedTexts:
    """Add texts a few at a time."""
    found, start = PackedTexts(), 0
    while start < len(texts):
        stop = start + sizes.choice([1, 2, 700])
        found.append(b"".join(text + b"\n" for text in texts[start:stop]))
        start = stop
    return found


@pytest.mark.parametrize("count", [0, 1, 3, 5000, MANY])
def test_texts_are_found_by_their_index(count: int) -> None:
    dice = random.Random(count)
    texts = [b"x" * dice.choice([0, 1, 30, 9000 if count < MANY else 40]) + b"%d" % i for i in range(count)]
    found = packed(texts, dice)
    assert [found[i] for i in range(count)] == texts
    assert len(found) == count
    for _ in range(200 if count else 0):
        start, stop = dice.randrange(count), dice.randrange(count + 9)
        assert found[start] == texts[start]
        assert found[start - count] == texts[start - count]
        assert found.some(start, stop) == texts[start:stop]
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            found[index]


def test_texts_that_come_later_are_found_though_others_were_looked_at() -> None:
    found = PackedTexts()
    for number in range(2000):
        found.append(b"task %d\n" % number)
        assert found[number] == b"task %d" % number
        assert found.some(number - 1 if number else 0, number + 5)[-1] == b"task %d" % number


def test_blocks_are_as_they_were_and_equal_if_all_are() -> None:
    dice = random.Random(3)
    blocks = [dice.randbytes(100_000) for _ in range(30)]
    one, same, other = PackedBlocks(), PackedBlocks(), PackedBlocks()
    for number, block in enumerate(blocks):
        one.append(block)
        same.append(block)
        other.append(block[:-1] if number == 20 else block)
    assert list(one) == blocks
    assert one == same
    assert one != other


def test_long_lists_of_texts_cost_a_part_of_their_size() -> None:
    tracemalloc.start()
    try:
        found, size = PackedTexts(), 0
        for i in range(4 * MANY):
            text = b"python analyse.py --seed %d --input data/run_%02d.h5 --out results/%d.json\n" % (i, i % 97, i)
            found.append(text)
            size += len(text)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert size > 15_000_000
    assert kept < 4_500_000
