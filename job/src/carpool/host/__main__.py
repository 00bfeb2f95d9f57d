"""`python -m carpool.host`: the supervisor."""

from __future__ import annotations

import sys

from carpool.host.supervisor import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
