import pytest
from tiny import export_tiny


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_weights")
    export_tiny(folder)
    return folder
