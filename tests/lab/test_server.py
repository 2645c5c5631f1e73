"""The connection of JupyterLab's server to a kernel, as `make lab` has it."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

MAKEFILE = Path(__file__).parents[2] / "Makefile"


def test_make_lab_sends_small_messages_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (option,) = re.findall(r"--(ServerApp\.kernel_websocket_connection_class=\S+)", MAKEFILE.read_text())
    app = ServerApp()
    app.parse_command_line([f"--{option}"])
    handler, said = KernelWebsocketHandler.__new__(KernelWebsocketHandler), []
    handler.ws_connection = SimpleNamespace(set_nodelay=said.append)
    monkeypatch.setattr(ZMQChannelsWebsocketConnection, "connect", lambda self: said.append("connected"))
    connection = app.kernel_websocket_connection_class.__new__(app.kernel_websocket_connection_class)
    connection.websocket_handler = handler
    connection.connect()
    assert said == [True, "connected"]
