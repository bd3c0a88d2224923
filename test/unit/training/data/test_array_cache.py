"""The cache: what goes in comes out, bounded, and damage is noticed."""

import pickle

import numpy as np
import pytest

from training.data.array_cache import ArrayCache

SHAPE = (4, 4)
SIZE = 16


def array(number):
    return np.full(SHAPE, number, np.uint8)


def opened(folder, capacity, keys=()):
    cache = ArrayCache(folder, SHAPE, capacity * SIZE)
    cache.open_for(set(map(str, keys)))
    return cache


def fill(cache, numbers):
    return [cache.add(f"{n}", array(n), (10 + n, 20 + n)) for n in numbers]


def test_what_goes_in_comes_out_also_in_another_process_life(tmp_path):
    assert all(fill(opened(tmp_path, 100), range(5)))
    cache = ArrayCache(tmp_path, SHAPE, 100 * SIZE)
    assert cache.open_for({"3", "4", "9"}) == {"3": (13, 23), "4": (14, 24)}
    np.testing.assert_array_equal(cache.read("4"), array(4))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache)).read("3"), array(3))  # as a worker process has it
    assert cache.read("9") is None


def test_a_full_cache_takes_no_more(tmp_path):
    assert fill(opened(tmp_path, 3), range(5)) == [True, True, True, False, False]
    assert len(list(tmp_path.glob("*/*"))) == 3


def test_room_is_made_by_leaving_what_is_not_needed(tmp_path):
    cache = opened(tmp_path, 4)
    fill(cache, range(4))
    reader = opened(tmp_path, 4, (0, 1))
    assert set(cache.open_for({"2", "3", "7", "8"})) == {"2", "3"}
    assert fill(cache, (7, 8, 9)) == [True, True, False]
    for number in (2, 3, 7, 8):
        np.testing.assert_array_equal(cache.read(str(number)), array(number))
    assert reader.read("0") is None  # its file is gone; it has to make the array again
    assert len(list(tmp_path.glob("*/*"))) == 4


def test_only_as_much_is_thrown_out_as_room_is_needed(tmp_path):
    fill(opened(tmp_path, 10), range(8))
    cache = opened(tmp_path, 10, (0, 20, 21, 22))
    assert fill(cache, (20, 21, 22, 23)) == [True, True, True, False]
    assert len(list(tmp_path.glob("*/*"))) == 10


def test_what_is_needed_is_never_thrown_out(tmp_path):
    cache = opened(tmp_path, 4)
    fill(cache, range(4))
    assert set(cache.open_for({"0", "1", "2", "3", "4", "5"})) == {"0", "1", "2", "3"}
    assert fill(cache, (4, 5)) == [False, False]


@pytest.mark.parametrize("damage", ["changed", "cut short", "empty", "gone"])
def test_a_damaged_file_is_not_returned_and_can_be_written_again(tmp_path, damage):
    fill(opened(tmp_path, 10), range(3))
    (path,) = tmp_path.glob("2/*.npy")
    data = bytearray(path.read_bytes())
    data[-5] ^= 255
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"changed": data, "cut short": data[:-3], "empty": b""}[damage])
    cache = opened(tmp_path, 10, range(3))
    assert cache.read("2") is None
    np.testing.assert_array_equal(cache.read("1"), array(1))
    assert cache.add("2", array(2), (12, 22))
    np.testing.assert_array_equal(cache.read("2"), array(2))


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "notes.npy").write_bytes(b"mine")
    cache = opened(tmp_path, 1, (1,))
    assert fill(cache, (1,)) == [True]
    assert (tmp_path / "ab" / "notes.npy").read_bytes() == b"mine"


def test_two_writers_do_not_disturb_each_other(tmp_path):
    first, second = (opened(tmp_path, 100) for _ in range(2))
    for pair in zip(range(10), range(5, 15), strict=True):
        fill(first, pair[:1])
        fill(second, pair[1:])
    cache = opened(tmp_path, 100, range(15))
    for number in range(15):
        np.testing.assert_array_equal(cache.read(str(number)), array(number))


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    cache = opened(tmp_path, 4)
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        fill(cache, (1,))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
