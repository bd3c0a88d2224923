"""What the cache takes is said before it is filled, and a disk without room is an error of one sentence."""

import logging

import pytest

from challenge.host.disk import DiskFullError
from training.data import cache_room
from training.data.array_cache import ArrayCache
from training.data.cache_room import Needs, check_room

IMAGES = Needs("images", missing=40_000, room=30_000, bytes_each=200_704, seconds=300)
MASKS = Needs("masks", missing=16_000, room=16_000, bytes_each=69_632, seconds=60)


def test_size_time_and_what_has_no_room_are_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cache_room, "free_bytes", lambda _: 9 * 10**9)
    with caplog.at_level(logging.INFO):
        check_room([IMAGES, MASKS], tmp_path)
    said, left_out = caplog.messages
    room = "7.14 GB of 9.0 GB that are free"
    assert said == (f"the cache {tmp_path} gets 30,000 images and 16,000 masks: {room}, in about 6 min 00 s")
    assert left_out == (
        "10000 of 40000 images do not fit into the cache and are decoded each time; raise runtime.cache_gigabytes"
    )


def test_a_disk_without_room_is_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_room, "free_bytes", lambda _: 7 * 10**9)
    with pytest.raises(DiskFullError, match=r"needs 7.14 GB, but 7.00 GB are free; make room, give a --cache"):
        check_room([IMAGES, MASKS], tmp_path)


def test_nothing_is_said_where_nothing_is_missing(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        check_room([Needs("images", 0, 5, 4096)], tmp_path)
    assert not caplog.messages


def test_a_cache_knows_the_bytes_of_its_files_and_its_room(tmp_path):
    cache = ArrayCache(tmp_path, (64, 64, 3), 64 * 64 * 3 * 5)
    cache.open_for(["a"])
    assert cache.bytes_each == 16_384  # 12,288 pixels and a header, in whole blocks
    assert cache.room == 5
