"""Logging: text for people, JSON for collectors; one line a decision, with the object's key."""

from __future__ import annotations

import datetime
import json
import logging
import sys

# Libraries that log every step of theirs at INFO.
QUIET = ("kopf", "aiohttp", "asyncio", "kubernetes", "urllib3")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the key when the record has one."""

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
    """Send everything to standard error in the given format ("json" or "text")."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # kopf logs each failed try of a request as an error; the loss that matters shows in the watch's age.
    logging.getLogger("kopf._cogs.clients.api").setLevel(logging.CRITICAL)
    # It logs the same traceback three times when its watch ends; controller/watches.py logs why, and starts it again.
    logging.getLogger("kopf._core.reactor").setLevel(logging.CRITICAL)
