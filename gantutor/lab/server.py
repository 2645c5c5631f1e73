"""For JupyterLab's server: a connection to a kernel that hands each message to the browser at once."""

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """The server's own, but for TCP's Nagle algorithm, which is switched off.

    With it, a small message waits until the browser has confirmed the one before, and that takes a browser up to 40 ms:
    so long a toggle's picture would wait behind the word that the kernel is busy.
    Source: `tornado.websocket.WebSocketHandler.set_nodelay`.
    """

    def connect(self) -> Any:
        self.websocket_handler.set_nodelay(True)
        return super().connect()
