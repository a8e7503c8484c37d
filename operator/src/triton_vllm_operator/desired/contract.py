"""Paths and ports inside a serving pod: the contract between the operator and the serving image."""

from typing import Final

REPOSITORY_DIR: Final = "/models"
MODEL_DIR: Final = "/model"
CACHE_DIR: Final = "/cache"

HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
METRICS_PORT: Final = 8002
# Our image only: readiness that means tokens, what the engine got, and OpenAI's protocol when it is on.
HEALTH_PORT: Final = 9000
REPORT_PATH: Final = "/report"

# Endpoint controllers need a moment to take a stopping pod out of every node's rules.
ENDPOINT_REMOVAL_SECONDS: Final = 5
# Time for the server to stop its model after the drain, before the kubelet kills it.
STOP_MARGIN_SECONDS: Final = 15
