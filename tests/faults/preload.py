"""What a run imports, imported once by the process that the others are forked from; none of them reaches a network.

Every attempt to look up or reach an address is refused and printed, those of the imports below too. The hub's offline
switch is off here, so that what is tried is tried. An audit hook sees what goes through Python's sockets.
"""

import os
import sys

ATTEMPTS: list[str] = []  # by what was imported
_REACHING = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"}


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if event in _REACHING:
        line = f"network: {event} {args[1:] if event == 'socket.connect' else args}"
        ATTEMPTS.append(line)
        os.write(2, line.encode() + b"\n")
        raise OSError("no network in this test")


os.environ.pop("HF_HUB_OFFLINE", None)
sys.addaudithook(_refuse)

import altair  # noqa: E402
import transformer_lens  # noqa: E402
import transformers.models.gpt2.modeling_gpt2  # noqa: E402
import typst  # noqa: E402

import reportgen.models.load  # noqa: E402
import reportgen.report.render  # noqa: E402
import reportgen.runner  # noqa: E402

__all__ = ["ATTEMPTS", "altair", "reportgen", "transformer_lens", "transformers", "typst"]
