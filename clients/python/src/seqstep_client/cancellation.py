"""Cancels calls that block, from other threads."""

import threading
from typing import Any


class CancelledBefore(Exception):
    """A call was cancelled before it was sent."""


class Cancellation:
    """Cancels the calls that it is given to, from any thread.

        cancellation = Cancellation()
        threading.Timer(5, cancellation.cancel).start()
        client.update_step(update, customer_id="acme", provider="outreach", cancellation=cancellation)

    One may be given to several calls, at once or one after another, and cancels all of them, also those that begin later.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._running: set[Any] = set()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Cancels what runs, and what begins from now on; a second time does nothing."""
        with self._lock:
            self._is_cancelled = True
            running = [*self._running]
        for call in running:
            call.cancel()

    def follow(self, method: Any, request: Any, **options: Any) -> Any:
        """Makes a call and returns its response, as `method(request, **options)` does.

        Raises:
            CancelledBefore: It was cancelled before it was sent.
            grpc.FutureCancelledError: It was cancelled.
            grpc.RpcError: It ended with another status than OK.
        """
        if self._is_cancelled:
            raise CancelledBefore
        call: Any = method.future(request, **options)
        with self._lock:
            self._running.add(call)
            # By another thread, since the call began.
            is_cancelled = self._is_cancelled
        if is_cancelled:
            call.cancel()
        try:
            return call.result()
        finally:
            # What interrupts this thread, such as Ctrl-C, ends the call too; one that has ended is not changed by it.
            call.cancel()
            with self._lock:
                self._running.discard(call)
