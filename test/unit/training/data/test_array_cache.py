"""The cache: what goes in comes out, bounded, and damage is noticed."""

import sqlite3

import numpy as np
import pytest

from challenge.host.disk import is_full
from training.data.array_cache import ArrayCache, Entry

SHAPE = (4, 4)
SIZE = 16


def array(number):
    return np.full(SHAPE, number, np.uint8)


def fill(cache, numbers):
    return dict(cache.add(Entry(str(n), array(n), 10 + n, 20 + n, n) for n in numbers))


def test_what_goes_in_comes_out_also_in_another_process_life(tmp_path):
    fill(ArrayCache(tmp_path, SHAPE, 100 * SIZE), range(5))
    cache = ArrayCache(tmp_path, SHAPE, 100 * SIZE)
    records = cache.open_for({"3", "4", "9"})
    assert set(records) == {"3", "4"}
    assert (records["3"].width, records["3"].height, records["3"].peak) == (13, 23, 3)
    np.testing.assert_array_equal(cache.read(records["4"].slot), array(4))


def test_a_full_cache_takes_no_more(tmp_path):
    cache = ArrayCache(tmp_path, SHAPE, 3 * SIZE)
    slots = [record.slot for record in fill(cache, range(5)).values()]
    assert slots == [0, 1, 2, -1, -1]
    assert sum(path.stat().st_size for path in tmp_path.glob("*/records.u8")) == 3 * SIZE


def test_room_is_made_by_leaving_what_is_not_needed(tmp_path):
    cache = ArrayCache(tmp_path, SHAPE, 4 * SIZE)
    fill(cache, range(4))
    reader = ArrayCache(tmp_path, SHAPE, 4 * SIZE)
    before = reader.open_for({"0"})
    reader.read(before["0"].slot)
    kept = cache.open_for({"2", "3", "7", "8"})
    assert set(kept) == {"2", "3"}
    added = fill(cache, (7, 8))
    assert all(record.slot >= 0 for record in added.values())
    np.testing.assert_array_equal(cache.read(kept["3"].slot), array(3))
    np.testing.assert_array_equal(cache.read(added["8"].slot), array(8))
    np.testing.assert_array_equal(reader.read(before["0"].slot), array(0))  # who had it open reads on
    assert len(list(tmp_path.glob("*/records.u8"))) == 1


def test_what_is_needed_is_never_thrown_out(tmp_path):
    cache = ArrayCache(tmp_path, SHAPE, 4 * SIZE)
    fill(cache, range(4))
    kept = cache.open_for({"0", "1", "2", "3", "4", "5"})
    assert set(kept) == {"0", "1", "2", "3"}
    assert [record.slot for record in fill(cache, (4, 5)).values()] == [-1, -1]


@pytest.mark.parametrize("damage", ["changed", "cut short"])
def test_a_damaged_record_is_not_found_and_can_be_written_again(tmp_path, damage):
    fill(ArrayCache(tmp_path, SHAPE, 10 * SIZE), range(3))
    (path,) = tmp_path.glob("*/records.u8")
    data = bytearray(path.read_bytes())
    data[2 * SIZE + 5] ^= 255
    path.write_bytes(data if damage == "changed" else data[: 2 * SIZE + 3])
    cache = ArrayCache(tmp_path, SHAPE, 10 * SIZE)
    assert set(cache.open_for({"0", "1", "2"})) == {"0", "1"}
    slot = fill(cache, [2])["2"].slot
    np.testing.assert_array_equal(cache.read(slot), array(2))
    assert set(cache.find({"0", "1", "2"})) == {"0", "1", "2"}


def test_two_writers_do_not_overwrite_each_other(tmp_path):
    first, second = (ArrayCache(tmp_path, SHAPE, 100 * SIZE) for _ in range(2))
    writers = [cache.add(Entry(str(n), array(n), 1, 1, n) for n in numbers)
               for cache, numbers in ((first, range(10)), (second, range(5, 15)))]  # fmt: skip
    records = {}
    for pair in zip(*writers, strict=True):
        records.update(pair)
    for number in range(15):
        np.testing.assert_array_equal(first.read(records[str(number)].slot), array(number))


def test_a_full_disk_below_the_index_is_told_as_one(tmp_path, monkeypatch):
    connect = sqlite3.connect

    def tight(*where, **how):
        database = connect(*where, **how)
        database.execute("pragma max_page_count = 1")
        return database

    monkeypatch.setattr(sqlite3, "connect", tight)
    with pytest.raises(OSError, match="No space left") as caught:
        ArrayCache(tmp_path, SHAPE, SIZE)
    assert is_full(caught.value)
