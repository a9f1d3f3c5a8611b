"""The clients: `Client` blocks, `AsyncClient` is for asyncio."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc as pb_grpc

from seqstep_client import messages
from seqstep_client.cancellation import Cancellation, CancelledBefore
from seqstep_client.channel import CONNECT_TIMEOUT, ApiKey, Tls, open_aio_channel, open_channel
from seqstep_client.contract import API_KEY, CUSTOMER_ID, DEFAULT_DEADLINE_SECONDS, PROVIDER_NAME, REQUEST_ID
from seqstep_client.failures import UpdateFailed
from seqstep_client.updates import StepUpdate, UpdateResult

_UNREACHABLE: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

# grpc.health.v1.Health/Check for the server as a whole: its request is empty, and that a response comes is enough.
_HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"


@dataclass(slots=True)
class _Call:
    """One call, ready to be sent."""

    request: Any
    metadata: tuple[tuple[str, str], ...]
    credentials: grpc.CallCredentials | None
    request_id: str
    deadline: float

    @classmethod
    def prepare(
        cls,
        request: messages.Request,
        api_key: ApiKey,
        customer_id: str,
        provider: str,
        timeout: float,
        request_id: str | None,
    ) -> "_Call":
        # Made here and not by the service, so that it is known when no response comes.
        request_id = request_id or str(uuid.uuid4())
        metadata = (
            (CUSTOMER_ID, customer_id),
            (PROVIDER_NAME, provider),
            (REQUEST_ID, request_id),
            *api_key.metadata,
        )
        for key, value in metadata:
            messages.check_metadata(key, value)
        return cls(request, metadata, api_key.credentials, request_id, time.monotonic() + timeout)

    def remaining(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def options(self) -> dict[str, Any]:
        return {"timeout": self.remaining(), "metadata": self.metadata, "credentials": self.credentials}

    def failure(self, error: grpc.RpcError) -> UpdateFailed:
        return messages.failure_of(error, self.request, self.request_id)


def _result(cancellation: Cancellation | None, method: Any, request: Any, **options: Any) -> Any:
    if cancellation is None:
        return method(request, **options)
    return cancellation.follow(method, request, **options)


class Client:
    """Calls the service from ordinary code; safe to share between threads. Close it, or use it in a `with` block.

    Before the first call, and again after a lost connection, it asks the service's health check: a service that
    is not there is then `Unavailable`, and only a connection that breaks during an update leaves `OutcomeUnknown`.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        tls: Tls | None = None,
        plaintext: bool = False,
        key_in_clear: bool = False,
        timeout: float = DEFAULT_DEADLINE_SECONDS,
        interceptors: Sequence[Any] = (),
        channel: grpc.Channel | None = None,
    ) -> None:
        """Makes the client; connecting happens with the first call.

        Args:
            address: Where the service is: HOST:PORT, or any name that gRPC resolves.
            api_key: The application's key; None where a client certificate takes its place.
            tls: Files of TLS; None for TLS with the authorities that gRPC brings.
            plaintext: Do without TLS, as for a service on this machine.
            key_in_clear: Send the key without TLS to other machines, too.
            timeout: Seconds that a call may take unless it says otherwise.
            interceptors: What sees each call on its way, such as OpenTelemetry's.
            channel: A channel to use in place of one of the client's own; the caller closes it. `plaintext` says whether it
                does without TLS.

        Raises:
            InvalidArgument: The key has a character that cannot be sent, such as the line break at the end of its file, or
                would be sent without TLS to another machine.
        """
        if api_key is not None:
            messages.check_metadata(API_KEY, api_key)
        self._address = address
        self._api_key = ApiKey.of(api_key, address, plaintext=plaintext, in_clear=key_in_clear)
        self._timeout = timeout
        self._owns_channel = channel is None
        if channel is None:
            channel = open_channel(address, tls=tls, plaintext=plaintext, interceptors=interceptors)
        self._channel = channel
        self._stub = pb_grpc.SequenceStepServiceStub(channel)
        self._check_health: Any = channel.unary_unary(_HEALTH_CHECK)
        self._connected = False

    def update_step(
        self,
        update: StepUpdate,
        *,
        customer_id: str,
        provider: str,
        timeout: float | None = None,
        request_id: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> UpdateResult:
        """Changes a step.

        Args:
            update: Which step, and how.
            customer_id: The caller's own id of its customer.
            provider: `apollo`, `outreach` or `salesloft`.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.
            cancellation: Ends the call when another thread says so.

        Returns:
            What was changed, and what else to know.

        Raises:
            NotApplied: The update failed for the customer; nothing was changed.
            PartiallyApplied: Some of it was carried out.
            OutcomeUnknown: It may have been carried out.
            CallRefused: The service refused the call; nothing was changed.
            InvalidArgument: A value cannot be sent, such as a custom field that is no JSON value; nothing was sent.
        """
        call = self._prepare(messages.request_of(update), customer_id, provider, timeout, request_id)
        return messages.result_of(
            self._answer(self._stub.UpdateStep, call, cancellation), call.request, call.request_id
        )

    def get_step(
        self,
        sequence_id: str,
        sequence_step_id: str,
        *,
        customer_id: str,
        provider: str,
        with_bodies: bool = True,
        with_sharing: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> pb.Step:
        """Reads a step as the provider holds it now, with all of its variants.

        Args:
            sequence_id: The provider's id of the sequence.
            sequence_step_id: The provider's id of the step.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            with_bodies: Read the bodies, too.
            with_sharing: Find all steps that use its templates, which costs another call at Outreach.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.
            cancellation: Ends the call when another thread says so.

        Raises:
            NotApplied: The step could not be read.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        request = pb.GetStepRequest(
            sequence_id=sequence_id,
            sequence_step_id=sequence_step_id,
            view=pb.STEP_VIEW_FULL if with_bodies else pb.STEP_VIEW_BASIC,
            with_sharing=with_sharing,
        )
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response: pb.GetStepResponse = self._read(self._stub.GetStep, call, cancellation)
        return response.step

    def list_steps(
        self,
        sequence_id: str,
        *,
        customer_id: str,
        provider: str,
        with_bodies: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> pb.ListStepsResponse:
        """Reads a sequence and all of its steps.

        Args:
            sequence_id: The provider's id of the sequence.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            with_bodies: Read the bodies, too.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.
            cancellation: Ends the call when another thread says so.

        Raises:
            NotApplied: The sequence could not be read.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        view = pb.STEP_VIEW_FULL if with_bodies else pb.STEP_VIEW_BASIC
        request = pb.ListStepsRequest(sequence_id=sequence_id, view=view)
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response: pb.ListStepsResponse = self._read(self._stub.ListSteps, call, cancellation)
        return response

    def list_step_changes(
        self,
        *,
        customer_id: str,
        provider: str,
        sequence_id: str = "",
        sequence_step_id: str = "",
        of_request_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        request_id: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> pb.ListStepChangesResponse:
        """Lists what updates of this application changed, newest first; long texts are cut.

        Args:
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            sequence_id: Only the changes of this sequence.
            sequence_step_id: Only the changes of this step; needs `sequence_id`.
            of_request_id: Only the changes that calls with this id made.
            start: Only the changes from this time on.
            end: Only the changes before this time.
            page_size: How many a page may have; 0 for 50.
            page_token: `next_page_token` of the page before.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.
            cancellation: Ends the call when another thread says so.

        Raises:
            NotApplied: They could not be listed.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent, such as a time without a zone; nothing was sent.
        """
        request = messages.changes_request(
            sequence_id, sequence_step_id, of_request_id, start, end, page_size, page_token
        )
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response: pb.ListStepChangesResponse = self._read(self._stub.ListStepChanges, call, cancellation)
        return response

    def get_step_change(
        self,
        change_id: str,
        *,
        customer_id: str,
        provider: str,
        timeout: float | None = None,
        request_id: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> pb.StepChange:
        """Reads one change with its texts whole.

        Args:
            change_id: The id of the change.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.
            cancellation: Ends the call when another thread says so.

        Raises:
            NotApplied: It could not be read.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        call = self._prepare(pb.GetStepChangeRequest(change_id=change_id), customer_id, provider, timeout, request_id)
        response: pb.GetStepChangeResponse = self._read(self._stub.GetStepChange, call, cancellation)
        return response.step_change

    def revert_step_change(
        self,
        change_id: str,
        *,
        customer_id: str,
        provider: str,
        validate_only: bool = False,
        overwrite: bool = False,
        refuse_shared: bool = False,
        timeout: float | None = None,
        request_id: str | None = None,
        cancellation: Cancellation | None = None,
    ) -> UpdateResult:
        """Sets what a change replaced back to what it was before.

        Args:
            change_id: The id of the change.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            validate_only: Do everything but the write.
            overwrite: Write over whatever the provider holds by now.
            refuse_shared: Leave a template that other steps use, too; the failure names them.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.
            cancellation: Ends the call when another thread says so.

        Returns:
            What was set back, and what else to know.

        Raises:
            NotApplied: The revert failed, and nothing was changed; `STEP_CHANGED_ERROR` if somebody has changed it since.
            PartiallyApplied: Some of it was carried out.
            OutcomeUnknown: It may have been carried out.
            CallRefused: The service refused the call; nothing was changed.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        request = pb.RevertStepChangeRequest(
            change_id=change_id,
            validate_only=validate_only,
            overwrite=overwrite,
            if_shared=pb.IF_SHARED_REFUSE if refuse_shared else pb.IF_SHARED_UNSPECIFIED,
        )
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response = self._answer(self._stub.RevertStepChange, call, cancellation)
        return messages.revert_result_of(response, call.request, call.request_id)

    def _read(self, method: Any, call: _Call, cancellation: Cancellation | None) -> Any:
        return messages.read_of(self._answer(method, call, cancellation), call.request, call.request_id)

    def _answer(self, method: Any, call: _Call, cancellation: Cancellation | None) -> Any:
        was_sent = False
        try:
            self._ensure_connected(call, cancellation)
            was_sent = True
            return _result(cancellation, method, call.request, **call.options())
        except CancelledBefore:
            raise messages.cancelled(call.request, call.request_id, was_sent=False) from None
        except grpc.FutureCancelledError:
            raise messages.cancelled(call.request, call.request_id, was_sent=was_sent) from None
        except grpc.RpcError as error:
            self._connected = error.code() is not grpc.StatusCode.UNAVAILABLE
            raise call.failure(error) from None

    def _prepare(
        self, request: messages.Request, customer_id: str, provider: str, timeout: float | None, request_id: str | None
    ) -> _Call:
        seconds = self._timeout if timeout is None else timeout
        return _Call.prepare(request, self._api_key, customer_id, provider, seconds, request_id)

    def _ensure_connected(self, call: _Call, cancellation: Cancellation | None) -> None:
        if self._connected:
            return
        try:
            _result(cancellation, self._check_health, b"", timeout=min(CONNECT_TIMEOUT, call.remaining()))
        except grpc.RpcError as error:
            if error.code() in _UNREACHABLE:
                raise messages.unreachable(error, self._address, call.request_id) from None
        self._connected = True

    def close(self) -> None:
        """Closes the connection; running calls are cancelled."""
        if self._owns_channel:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """Calls the service from asyncio. Close it, or use it in an `async with` block.

    Before the first call, and again after a lost connection, it asks the service's health check: a service that
    is not there is then `Unavailable`, and only a connection that breaks during an update leaves `OutcomeUnknown`.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        tls: Tls | None = None,
        plaintext: bool = False,
        key_in_clear: bool = False,
        timeout: float = DEFAULT_DEADLINE_SECONDS,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """Makes the client; connecting happens with the first call.

        Args:
            address: Where the service is: HOST:PORT, or any name that gRPC resolves.
            api_key: The application's key; None where a client certificate takes its place.
            tls: Files of TLS; None for TLS with the authorities that gRPC brings.
            plaintext: Do without TLS, as for a service on this machine.
            key_in_clear: Send the key without TLS to other machines, too.
            timeout: Seconds that a call may take unless it says otherwise.
            interceptors: What sees each call on its way, such as OpenTelemetry's.
            channel: A channel to use in place of one of the client's own; the caller closes it. `plaintext` says whether it
                does without TLS.

        Raises:
            InvalidArgument: The key has a character that cannot be sent, such as the line break at the end of its file, or
                would be sent without TLS to another machine.
        """
        if api_key is not None:
            messages.check_metadata(API_KEY, api_key)
        self._address = address
        self._api_key = ApiKey.of(api_key, address, plaintext=plaintext, in_clear=key_in_clear)
        self._timeout = timeout
        self._owns_channel = channel is None
        if channel is None:
            channel = open_aio_channel(address, tls=tls, plaintext=plaintext, interceptors=interceptors)
        self._channel = channel
        self._stub = pb_grpc.SequenceStepServiceStub(channel)
        self._check_health: Any = channel.unary_unary(_HEALTH_CHECK)
        self._connected = False

    async def update_step(
        self,
        update: StepUpdate,
        *,
        customer_id: str,
        provider: str,
        timeout: float | None = None,  # noqa: ASYNC109  # gRPC's own deadline, which it sends to the service
        request_id: str | None = None,
    ) -> UpdateResult:
        """Changes a step.

        Args:
            update: Which step, and how.
            customer_id: The caller's own id of its customer.
            provider: `apollo`, `outreach` or `salesloft`.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.

        Returns:
            What was changed, and what else to know.

        Raises:
            NotApplied: The update failed for the customer; nothing was changed.
            PartiallyApplied: Some of it was carried out.
            OutcomeUnknown: It may have been carried out.
            CallRefused: The service refused the call; nothing was changed.
            InvalidArgument: A value cannot be sent, such as a custom field that is no JSON value; nothing was sent.
        """
        call = self._prepare(messages.request_of(update), customer_id, provider, timeout, request_id)
        return messages.result_of(await self._answer(self._stub.UpdateStep, call), call.request, call.request_id)

    async def get_step(
        self,
        sequence_id: str,
        sequence_step_id: str,
        *,
        customer_id: str,
        provider: str,
        with_bodies: bool = True,
        with_sharing: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
        request_id: str | None = None,
    ) -> pb.Step:
        """Reads a step as the provider holds it now, with all of its variants.

        Args:
            sequence_id: The provider's id of the sequence.
            sequence_step_id: The provider's id of the step.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            with_bodies: Read the bodies, too.
            with_sharing: Find all steps that use its templates, which costs another call at Outreach.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.

        Raises:
            NotApplied: The step could not be read.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        request = pb.GetStepRequest(
            sequence_id=sequence_id,
            sequence_step_id=sequence_step_id,
            view=pb.STEP_VIEW_FULL if with_bodies else pb.STEP_VIEW_BASIC,
            with_sharing=with_sharing,
        )
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response: pb.GetStepResponse = await self._read(self._stub.GetStep, call)
        return response.step

    async def list_steps(
        self,
        sequence_id: str,
        *,
        customer_id: str,
        provider: str,
        with_bodies: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
        request_id: str | None = None,
    ) -> pb.ListStepsResponse:
        """Reads a sequence and all of its steps.

        Args:
            sequence_id: The provider's id of the sequence.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            with_bodies: Read the bodies, too.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.

        Raises:
            NotApplied: The sequence could not be read.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        view = pb.STEP_VIEW_FULL if with_bodies else pb.STEP_VIEW_BASIC
        request = pb.ListStepsRequest(sequence_id=sequence_id, view=view)
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response: pb.ListStepsResponse = await self._read(self._stub.ListSteps, call)
        return response

    async def list_step_changes(
        self,
        *,
        customer_id: str,
        provider: str,
        sequence_id: str = "",
        sequence_step_id: str = "",
        of_request_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
        request_id: str | None = None,
    ) -> pb.ListStepChangesResponse:
        """Lists what updates of this application changed, newest first; long texts are cut.

        Args:
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            sequence_id: Only the changes of this sequence.
            sequence_step_id: Only the changes of this step; needs `sequence_id`.
            of_request_id: Only the changes that calls with this id made.
            start: Only the changes from this time on.
            end: Only the changes before this time.
            page_size: How many a page may have; 0 for 50.
            page_token: `next_page_token` of the page before.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.

        Raises:
            NotApplied: They could not be listed.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent, such as a time without a zone; nothing was sent.
        """
        request = messages.changes_request(
            sequence_id, sequence_step_id, of_request_id, start, end, page_size, page_token
        )
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response: pb.ListStepChangesResponse = await self._read(self._stub.ListStepChanges, call)
        return response

    async def get_step_change(
        self,
        change_id: str,
        *,
        customer_id: str,
        provider: str,
        timeout: float | None = None,  # noqa: ASYNC109
        request_id: str | None = None,
    ) -> pb.StepChange:
        """Reads one change with its texts whole.

        Args:
            change_id: The id of the change.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.

        Raises:
            NotApplied: It could not be read.
            CallRefused: The service refused the call.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        call = self._prepare(pb.GetStepChangeRequest(change_id=change_id), customer_id, provider, timeout, request_id)
        response: pb.GetStepChangeResponse = await self._read(self._stub.GetStepChange, call)
        return response.step_change

    async def revert_step_change(
        self,
        change_id: str,
        *,
        customer_id: str,
        provider: str,
        validate_only: bool = False,
        overwrite: bool = False,
        refuse_shared: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
        request_id: str | None = None,
    ) -> UpdateResult:
        """Sets what a change replaced back to what it was before.

        Args:
            change_id: The id of the change.
            customer_id: The caller's own id of its customer.
            provider: `apollo` or `outreach`.
            validate_only: Do everything but the write.
            overwrite: Write over whatever the provider holds by now.
            refuse_shared: Leave a template that other steps use, too; the failure names them.
            timeout: Seconds that the call may take, retries included; None for the client's own.
            request_id: An id to find the call by; None for a new one.

        Returns:
            What was set back, and what else to know.

        Raises:
            NotApplied: The revert failed, and nothing was changed; `STEP_CHANGED_ERROR` if somebody has changed it since.
            PartiallyApplied: Some of it was carried out.
            OutcomeUnknown: It may have been carried out.
            CallRefused: The service refused the call; nothing was changed.
            InvalidArgument: A value cannot be sent; nothing was sent.
        """
        request = pb.RevertStepChangeRequest(
            change_id=change_id,
            validate_only=validate_only,
            overwrite=overwrite,
            if_shared=pb.IF_SHARED_REFUSE if refuse_shared else pb.IF_SHARED_UNSPECIFIED,
        )
        call = self._prepare(request, customer_id, provider, timeout, request_id)
        response = await self._answer(self._stub.RevertStepChange, call)
        return messages.revert_result_of(response, call.request, call.request_id)

    async def _read(self, method: Any, call: _Call) -> Any:
        return messages.read_of(await self._answer(method, call), call.request, call.request_id)

    async def _answer(self, method: Any, call: _Call) -> Any:
        await self._ensure_connected(call)
        try:
            return await method(call.request, **call.options())
        except grpc.aio.AioRpcError as error:
            self._connected = error.code() is not grpc.StatusCode.UNAVAILABLE
            raise call.failure(error) from None

    def _prepare(
        self, request: messages.Request, customer_id: str, provider: str, timeout: float | None, request_id: str | None
    ) -> _Call:
        seconds = self._timeout if timeout is None else timeout
        return _Call.prepare(request, self._api_key, customer_id, provider, seconds, request_id)

    async def _ensure_connected(self, call: _Call) -> None:
        if self._connected:
            return
        try:
            await self._check_health(b"", timeout=min(CONNECT_TIMEOUT, call.remaining()))
        except grpc.aio.AioRpcError as error:
            if error.code() in _UNREACHABLE:
                raise messages.unreachable(error, self._address, call.request_id) from None
        self._connected = True

    async def close(self) -> None:
        """Closes the connection; running calls are cancelled."""
        if self._owns_channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
