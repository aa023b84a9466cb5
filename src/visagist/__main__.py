"""`python -m visagist` is the command line."""

import sys

from visagist.cli import main

sys.exit(main())
