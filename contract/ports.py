"""Ports of a serving pod."""

from typing import Final

HTTP: Final = 8000
"""Triton's HTTP port."""
GRPC: Final = 8001
"""Triton's gRPC port."""
METRICS: Final = 8002
"""Triton's metrics port."""
HEALTH: Final = 9000
"""The operator's image only: readiness, the engine report and, when it is on, OpenAI's protocol."""
