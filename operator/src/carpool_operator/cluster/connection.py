"""Where the API server is and who the operator is to it: in a pod, or by a kubeconfig."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

from carpool_operator.errors import OperatorError, SettingsError

Guard = Callable[[], None]
_POOL = 64
"""Open connections of a client: HTTP/1.1 has one request on each."""


class Connection:
    """How to reach the API server; makes the sessions of all that speak to it."""

    def __init__(self, configuration: Configuration, agent: str) -> None:
        """Take what a loader of the client library has filled in.

        Args:
            configuration: of the library.
            agent: the requests' User-Agent, by which an audit log tells replicas apart.
        """
        self._configuration = configuration
        self.agent = agent
        configuration.connection_pool_maxsize = _POOL

    @classmethod
    async def load(cls, agent: str) -> Connection:
        """Use the pod's service account, or outside of pods the kubeconfig (KUBECONFIG).

        Raises:
            SettingsError: neither is usable.
        """
        configuration = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
                load_incluster_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration
                )
            else:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration
                )
        except (ConfigException, OSError) as error:
            raise SettingsError(
                f"no way to the API server: {error}; run in a pod with a service account, or set "
                "KUBECONFIG to the path of a kubeconfig"
            ) from error
        return cls(configuration, agent)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._configuration.host)

    def client(self, guard: Guard | None = None) -> ApiClient:
        """A client of the library's, whose writes are sent only while `guard` does not raise."""
        configuration = Configuration.__deepcopy__(self._configuration, {})
        # The environment's proxies are for other hosts, and asking for them costs each request two
        # turns of a thread pool; a kubeconfig names a proxy by itself.
        configuration.client_session_kwargs = {
            "middlewares": (self._authorise,),
            "trust_env": False,
        }
        if guard is not None:
            configuration.client_session_kwargs["request_class"] = _guarded(guard)
        return ApiClient(configuration)

    def session(self, response: type[aiohttp.ClientResponse]) -> aiohttp.ClientSession:
        """A session for a library that makes its own requests; it closes the session, too."""
        tls = ApiClient(self._configuration).rest_client.ssl_context
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            middlewares=(self._authorise,),
            response_class=response,
            headers={"User-Agent": self.agent},
        )

    async def _authorise(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # Asked for each request: tokens of service accounts are replaced every hour.
        settings = await self._configuration.auth_settings()
        if bearer := settings.get("BearerToken"):
            request.headers["Authorization"] = str(bearer["value"])
        return await handler(request)


def _guarded(guard: Guard) -> type[aiohttp.ClientRequest]:
    class GuardedRequest(aiohttp.ClientRequest):
        """Asks the guard when the connection stands and nothing is left but to write to it.

        Headers are kept back until there is a body to write with them, and that is a task of its
        own, which a busy event loop comes to later: a check before it would be one too early.
        """

        async def write_bytes(
            self, writer: Any, conn: Any, content_length: int | None = None
        ) -> None:
            if self.method not in {"GET", "HEAD"}:
                try:
                    guard()
                except OperatorError as error:
                    # Nobody waits for this task, but for an answer.
                    conn.protocol.set_exception(error)
                    return
            await super().write_bytes(writer, conn, content_length)

    return GuardedRequest
