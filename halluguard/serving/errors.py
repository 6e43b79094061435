"""Define errors in the form of OpenAI's API, which its clients turn into their own exceptions."""

from __future__ import annotations

from halluguard.errors import HalluguardError
from halluguard.io import JsonObject
from halluguard.printing import printable


class ApiError(HalluguardError):
    """A request that ends with an HTTP status.

    Args:
        status: HTTP status.
        message: expected value, received value, advice.
        kind: OpenAI's type of the error.
        param: name of the wrong part of the request.
        code: OpenAI's code, such as "model_not_found".
        retry_after: seconds after which to try again, for the header Retry-After; None sends none.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code, self.retry_after = status, kind, param, code, retry_after

    @property
    def body(self) -> JsonObject:
        """The JSON body of the response."""
        message = printable(self)
        return {"error": {"message": message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Further headers of the response."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def invalid(message: str, param: str | None = None) -> ApiError:
    """A request that the client has to change."""
    return ApiError(400, message, param=param)


def busy(message: str) -> ApiError:
    """A request that may succeed a little later."""
    return ApiError(503, message, kind="server_error", code="overloaded", retry_after=1)


def bad_gateway(message: str, status: int = 502) -> ApiError:
    """The upstream server failed."""
    return ApiError(status, message, kind="server_error", code="upstream_error")
