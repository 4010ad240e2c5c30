"""What is compressed comes back, in any thread; what is no frame is said to be corrupt."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard

from pillarbox.store.compression import compress, decompress
from pillarbox.store.errors import Corrupt


@pytest.mark.parametrize("level", [1, 3])
@pytest.mark.parametrize("data", [b"", b"x", b"From: a\r\n" * 40_000])
def test_it_comes_back(data: bytes, level: int) -> None:
    assert decompress(compress(data, level)) == data


def test_levels_are_kept_apart() -> None:
    data = b"".join(b"line %d of a text that repeats itself\r\n" % (n * n % 97) for n in range(2000))
    first, third = compress(data, 1), compress(data, 3)
    assert (compress(data, 1), compress(data, 3)) == (first, third)
    assert first != third


def test_threads_have_contexts_of_their_own() -> None:
    texts = [b"%d " % n * 5000 for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: decompress(compress(text, 1)), texts)) == texts


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"garbage",
        zstandard.ZstdCompressor().compress(b"x" * 1000)[:-3],
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000),
    ],
)
def test_what_is_no_frame_is_corrupt(frame: bytes) -> None:
    with pytest.raises(Corrupt, match="zstd"):
        decompress(frame)
