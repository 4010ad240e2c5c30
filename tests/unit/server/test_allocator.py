"""What is free in the heap goes back to the machine."""

from pillarbox.server.allocator import give_back

PAGE = 4096


def resident() -> int:
    with open("/proc/self/statm", "rb") as fields:
        return int(fields.read().split()[1]) * PAGE


def test_what_was_freed_is_given_back() -> None:
    # Every second one is kept, so that the allocator cannot return the end of its heap by itself.
    blocks = [bytearray(60_000) for _ in range(1000)]
    kept = blocks[::2]
    del blocks
    before = resident()
    assert give_back()
    assert resident() < before - 20_000_000
    assert len(kept) == 500
