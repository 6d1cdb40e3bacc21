"""The worker's own port: `/metrics`, `/livez` and `/readyz`."""

from __future__ import annotations

import socket
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from stream.errors import ServiceError
from stream.pipeline.worker import Worker


def is_taken(host: str, port: int) -> bool:
    """Tell whether something listens on a port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


class HealthServer:
    """Serves one worker's health and metrics while the context lasts.

    Parameters
    ----------
    worker
        Whose health it is.
    registry
        Of its metrics.
    host, port
        Where to listen; port 0 takes a free one.

    Attributes
    ----------
    url
        Where it answers, once entered.
    """

    def __init__(
        self, worker: Worker, registry: CollectorRegistry, *, host: str, port: int
    ) -> None:
        self.url = ""
        self._worker = worker
        self._registry = registry
        self._host, self._port = host, port
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ServiceError(
                f"cannot serve metrics on {self._host}:{self._port}: {error.strerror}; "
                "choose another with --metrics-port, 0 for any"
            ) from error
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._worker.not_ready()
        status = "standby" if self._worker.standby else "ready"
        body = {"status": "not ready" if reasons else status, "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)
