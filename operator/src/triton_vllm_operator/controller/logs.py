"""Logging as text or JSON, one line per decision, with the object's key."""

from __future__ import annotations

import datetime
import json
import logging
import sys

# Libraries that log every step at INFO.
QUIET = ("kopf", "aiohttp", "asyncio", "kubernetes", "urllib3")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message, and the key where the record has one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "key"):
            line["key"] = str(record.key)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(log_format: str, level: str) -> None:
    """Log to standard error in the given format ("json" or "text")."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # kopf logs each failed try of a request as an error; an outage that matters shows in the watch's age.
    logging.getLogger("kopf._cogs.clients.api").setLevel(logging.CRITICAL)
    # It logs the same traceback three times when its watch ends; controller/watches.py logs the cause and restarts it.
    logging.getLogger("kopf._core.reactor").setLevel(logging.CRITICAL)
