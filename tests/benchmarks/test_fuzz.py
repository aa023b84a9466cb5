"""A few hostile inputs for every reader; `make bench-fuzz` tries many more."""

from benchmarks.fuzz import main

from tests.cli.conftest import Swap
from tests.cli.conftest import source as source
from tests.cli.conftest import swapped as swapped


def test_no_reader_fails_in_a_way_of_its_own(swapped: Swap) -> None:
    assert main(["--inputs", "340", "--workspace", str(swapped.workspace)]) == 0
