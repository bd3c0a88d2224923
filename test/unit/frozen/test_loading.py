import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from model.frozen.loading import prefetch


def test_no_more_than_depth_results_wait():
    begun, lock = [], threading.Lock()

    def work(item):
        with lock:
            begun.append(item)
        return item

    with ThreadPoolExecutor(2) as pool:
        for number, item in enumerate(prefetch(pool, work, range(100), 7)):
            assert item == number
            assert len(begun) <= number + 7


def test_an_error_of_a_worker_is_raised_where_its_result_is_taken():
    def work(item):
        if item == 3:
            raise ValueError("three")
        return item

    with ThreadPoolExecutor(2) as pool:
        results = prefetch(pool, work, range(10), 4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(results)
