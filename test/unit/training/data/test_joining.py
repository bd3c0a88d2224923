"""Near-copies stay together in a split, unless both patients have a name."""

import itertools

from challenge.manifest import Row, Sample
from challenge.tasks import TaskKind
from training.data.joining import join_near_copies
from training.data.near_copies import NearCopy
from training.data.split import folds, split


def sample(path, group=""):
    return Sample(path, "organ_cls", TaskKind.CLASSIFICATION, 6, Row("a.csv", 2), None, {"group": group, "mask": "0"})


def join(samples, *pairs):
    """Join the pairs (one path, other path, correlation); the hash of an image is its path."""
    return join_near_copies(samples, {s.image_path: s.image_path for s in samples}, [NearCopy(*pair) for pair in pairs])


def together(found, *paths):
    return len({found.content[path] for path in paths}) == 1


def test_images_without_a_group_are_joined_in_chains_and_the_largest_group_is_told():
    rows = [sample(name) for name in "abcdef"]
    found = join(rows, ("a", "b", 0.96), ("b", "c", 0.97), ("d", "e", 0.99))
    assert together(found, "a", "b", "c")
    assert together(found, "d", "e")
    assert len(set(found.content.values())) == 3
    assert (len(found.joined), found.apart, found.largest) == (3, [], 3)


def test_two_named_patients_are_listed_and_not_joined():
    rows = [sample("a", "Anna"), sample("b", "Berta")]
    found = join(rows, ("a", "b", 0.99))
    assert not together(found, "a", "b")
    assert [(copy.one, copy.other) for copy in found.apart] == [("a", "b")]
    assert (found.joined, found.largest) == ([], 0)


def test_a_chain_of_images_without_a_group_does_not_join_two_named_patients():
    rows = [sample("a", "Anna"), sample("x"), sample("y"), sample("b", "Berta")]
    for pairs in itertools.permutations([("a", "x", 0.98), ("x", "y", 0.96), ("y", "b", 0.97)]):
        found = join(rows, *pairs)
        assert not together(found, "a", "b")
        assert together(found, "a", "x")
        assert together(found, "b", "y")
        assert [(copy.one, copy.other) for copy in found.apart] == [("x", "y")]  # the least alike


def test_a_guessed_group_does_not_join_two_named_patients_either():
    rows = [sample("p1_0.png"), sample("p1_1.png"), sample("a", "Anna"), sample("b", "Berta")]
    found = join(rows, ("p1_0.png", "a", 0.98), ("p1_1.png", "b", 0.97))
    assert together(found, "p1_0.png", "p1_1.png", "a")
    assert len(found.apart) == 1


def test_joined_images_are_on_one_side_of_every_split():
    rows = [sample(f"{name}.png") for name in "abcdefghijklmnop"]
    found = join(rows, *((f"{one}.png", f"{other}.png", 0.97) for one, other in ("ab", "cd", "ef", "gh")))
    for seed in range(10):
        for train, dev in (split(rows, 0.3, seed, found.content), *folds(rows, 3, seed, found.content)):
            sides = [{found.content[s.image_path] for s in side} for side in (train, dev)]
            assert sides[0].isdisjoint(sides[1])


def test_without_near_copies_the_split_stays_as_it_was():
    rows = [sample(f"{number // 2}_{number % 2}.png") for number in range(40)]
    content = {s.image_path: s.image_path for s in rows}
    assert split(rows, 0.3, 1, join(rows).content) == split(rows, 0.3, 1, content)
