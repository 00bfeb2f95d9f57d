"""`python -m carpool` is the command `carpool`."""

import sys

from carpool.cli.main import main

sys.exit(main())
