"""Copies that were cropped and compressed again are found; other pictures of the same probe are not."""

import itertools

import numpy as np
import pytest
from PIL import Image
from unit.training.data.scans import near_copy, scan

from training.data import near_copies
from training.data.near_copies import Images, cached_search, search
from training.data.thumbnails import SIDE, read_thumbnails, thumbnail

LEAST = 0.95


def images(pictures, groups=None):
    """Pictures by name; each is a group of its own unless `groups` says otherwise."""
    return Images(
        {name: thumbnail(pixels) for name, pixels in pictures.items()}, {n: n for n in pictures} | (groups or {})
    )


def pairs(found):
    return {frozenset((copy.one, copy.other)) for copy in found}


@pytest.mark.parametrize("sector", [True, False])
@pytest.mark.parametrize(
    "cut", [(0, 0, 0, 0), (0.02, 0, 0.02, 0), (0.02,) * 4, (0.02, 0.02, 0, 0), (0, 0.02, 0, 0)]
)  # fmt: skip
def test_a_planted_copy_is_found_in_either_order(cut, sector):
    pictures = {f"{seed:02d}": scan(seed, sector=sector) for seed in range(20)}
    for name in ("early", "00 early"):  # hashes before and after those of the originals
        pictures[name] = near_copy(pictures["07"], cut)
    found = pairs(search(images(pictures), LEAST))
    assert found == {frozenset(pair) for pair in itertools.combinations(("07", "early", "00 early"), 2)}


def test_a_shared_sector_makes_no_near_copies():
    pictures = {f"{seed:02d}": scan(seed) // 8 * 2 + (scan(seed) > 0) * np.uint8(100) for seed in range(20)}
    rows = np.stack([thumbnail(pixels).ravel() for pixels in pictures.values()])
    assert np.sort(np.corrcoef(rows)[np.triu_indices(len(rows), 1)])[0] > LEAST  # the sector alone correlates
    assert not search(images(pictures), LEAST)


def test_flat_pictures_are_no_copies_of_each_other():
    black = {f"black {n}": np.full((40, 60, 3), n, np.uint8) for n in range(3)}
    noise = {f"noise {n}": np.random.default_rng(n).integers(0, 2, (40, 60, 3), np.uint8) for n in range(3)}
    assert not search(images(black | noise | {"scan": scan(1)}), LEAST)


def test_stripes_are_compared_too():
    stripes = np.repeat(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))[..., None], 3, axis=2)
    assert len(search(images({"a": stripes, "b": near_copy(stripes), "c": scan(1)}), LEAST)) == 1


def test_the_inverse_of_a_picture_is_no_copy():
    assert not search(images({"a": scan(1, sector=False), "b": 255 - scan(1, sector=False)}), LEAST)


def test_images_of_one_group_are_not_compared():
    pictures = {"a": scan(1), "b": near_copy(scan(1)), "c": near_copy(scan(1), (0, 0, 0, 0))}
    found = pairs(search(images(pictures, {"a": "patient", "b": "patient"}), LEAST))
    assert found == {frozenset("ac"), frozenset("bc")}


@pytest.mark.parametrize("block", [1, 3, 7, 24, 100])
def test_blocks_do_not_matter(block):
    pictures = {f"{seed:02d}": scan(seed) for seed in range(20)}
    pictures |= {f"copy {seed}": near_copy(pictures[f"{seed:02d}"]) for seed in (0, 6, 19)}
    expected = {frozenset((f"{seed:02d}", f"copy {seed}")) for seed in (0, 6, 19)}
    assert pairs(search(images(pictures), LEAST, block=block)) == expected
    one, other = ({n: p for n, p in pictures.items() if n.startswith("copy") is side} for side in (False, True))
    assert pairs(search(images(one), LEAST, images(other), block=block)) == expected


def test_many_frames_of_a_still_video_are_found_without_all_of_their_pairs(monkeypatch):
    monkeypatch.setattr(near_copies, "_CLOSEST", 3)
    frames = {f"{n:02d}": near_copy(scan(1), (n / 5000, 0, 0, 0)) for n in range(30)}
    found = search(images(frames), LEAST)
    assert {name for copy in found for name in (copy.one, copy.other)} == set(frames)
    assert len(found) <= 3 * len(frames)


def test_the_closest_pair_comes_first_and_a_higher_threshold_finds_less():
    pictures = {"a": scan(1), "cropped": near_copy(scan(1)), "compressed": near_copy(scan(1), (0, 0, 0, 0))}
    found = search(images(pictures), LEAST)
    assert {found[0].one, found[0].other} == {"a", "compressed"}
    assert [copy.correlation for copy in found] == sorted((copy.correlation for copy in found), reverse=True)
    assert pairs(search(images(pictures), 0.999)) == {frozenset(("a", "compressed"))}


def test_nothing_to_compare_is_no_error():
    assert not search(images({}), LEAST)
    assert not search(images({"a": scan(1)}), LEAST, images({}))


def test_a_thumbnail_is_the_whole_picture_in_grey():
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 64:] = (255, 0, 0)
    small = thumbnail(pixels)
    assert small.shape == (SIDE, SIDE)
    assert (small[:, :14] == 0).all()
    assert (small[:, 18:] == 76).all()
    grey = np.broadcast_to(scan(1)[..., :1], (128, 128, 3))  # as a grey image is decoded
    np.testing.assert_array_equal(thumbnail(grey), thumbnail(scan(1)))


def test_a_second_search_neither_decodes_nor_compares(tmp_path, monkeypatch):
    files = {}
    for name, pixels in {"a": scan(1), "b": near_copy(scan(1)), "c": scan(2)}.items():
        files[name] = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(files[name])
    groups = {name: name for name in files}
    first = cached_search(files, groups, LEAST, tmp_path / "cache", None)
    assert pairs(first) == {frozenset("ab")}
    for path in files.values():
        path.unlink()
    assert set(read_thumbnails(files, tmp_path / "cache")) == set(files)
    assert not cached_search(files, {**groups, "a": "b"}, LEAST, tmp_path / "cache", None)  # another search
    monkeypatch.setattr(near_copies, "search", None)
    assert cached_search(files, groups, LEAST, tmp_path / "cache", None) == first


def test_damaged_thumbnails_are_made_again(tmp_path):
    Image.fromarray(scan(1)).save(tmp_path / "a.png")
    files = {"a": tmp_path / "a.png"}
    expected = read_thumbnails(files, tmp_path / "cache")["a"]
    (store,) = (tmp_path / "cache").iterdir()
    whole = store.read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2]):
        store.write_bytes(damaged)
        np.testing.assert_array_equal(read_thumbnails(files, tmp_path / "cache")["a"], expected)
        assert store.read_bytes() == whole
