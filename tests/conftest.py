"""What all tests share."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A config folder of the tests' own: no test may touch the user's key."""
    os.environ["VISAGIST_CONFIG_DIR"] = str(tmp_path_factory.mktemp("config"))
