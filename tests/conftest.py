"""What all tests share."""

import os

import pytest
from hypothesis import settings

settings.register_profile("visagist", deadline=None)  # a busy machine is no bug
settings.load_profile("visagist")


@pytest.fixture(scope="session", autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A config folder of the tests' own: no test may touch the user's key."""
    os.environ["VISAGIST_CONFIG_DIR"] = str(tmp_path_factory.mktemp("config"))
