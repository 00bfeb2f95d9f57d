"""`python -m carpool_operator`: read the settings, run until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

from carpool_operator.app import ClientFactory, plain_client, run
from carpool_operator.errors import OperatorError, SettingsError
from carpool_operator.observability.logs import configure_logs
from carpool_operator.settings import load_settings

log = logging.getLogger("carpool_operator")


def main(arguments: Sequence[str] | None = None, make_client: ClientFactory = plain_client) -> int:
    """Run the operator; returns its exit status (1: it failed, 2: it was started wrongly)."""
    try:
        settings = load_settings(arguments)
        configure_logs(settings.log_format, settings.log_level)
        asyncio.run(run(settings, make_client))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OperatorError as error:
        log.critical("Could not start", extra={"reason": error.reason, "error": str(error)})
        return 1
    except Exception:
        log.critical("Ended by an error", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
