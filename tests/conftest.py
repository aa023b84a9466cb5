"""Shared by all tests."""

import os

import pytest
from hypothesis import settings

settings.register_profile("visagist", deadline=None)  # a busy machine is not a bug
settings.load_profile("visagist")


@pytest.fixture(scope="session", autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A config folder for the tests, which must not touch the user's key."""
    os.environ["VISAGIST_CONFIG_DIR"] = str(tmp_path_factory.mktemp("config"))
