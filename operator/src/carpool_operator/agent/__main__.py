"""`python -m carpool_operator.agent`: read the settings, run until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

from carpool_operator.agent.app import run
from carpool_operator.agent.settings import load_agent_settings
from carpool_operator.errors import SettingsError
from carpool_operator.observability.logs import configure_logs

log = logging.getLogger("carpool_operator.agent")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent; returns its exit status (1: it failed, 2: it was started wrongly)."""
    try:
        settings = load_agent_settings(arguments)
        configure_logs(settings.log_format, settings.log_level)
        asyncio.run(run(settings))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Exception:
        log.critical("Ended by an error", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
