"""What handlers raise, as in `restate.exceptions`."""

from perdure.sdk.errors import RetryableError as RetryableError
from perdure.sdk.errors import SdkInternalBaseException as SdkInternalBaseException
from perdure.sdk.errors import SdkInternalException as SdkInternalException
from perdure.sdk.errors import SuspendedException as SuspendedException
from perdure.sdk.errors import TerminalError as TerminalError
from perdure.sdk.errors import is_internal_exception as is_internal_exception

__all__ = [
    "RetryableError",
    "SdkInternalBaseException",
    "SdkInternalException",
    "SuspendedException",
    "TerminalError",
    "is_internal_exception",
]
