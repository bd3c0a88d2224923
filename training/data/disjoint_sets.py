"""Union-find: which things are joined, directly or through others."""


class DisjointSets:
    """Sets of keys. A key that was never joined is a set of its own."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, key: str) -> str:
        """Return the key that stands for the set of `key`."""
        parent = self._parent
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    def join(self, one: str, other: str) -> None:
        """Make one set of the sets of two keys; `other`'s key stands for it."""
        self._parent[self.find(one)] = self.find(other)
