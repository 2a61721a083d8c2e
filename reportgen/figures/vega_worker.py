"""The process that draws Vega-Lite as SVG: a line of JSON in, a line of JSON out, until its input ends.

svg.py starts it by its path: it imports nothing of the package. The renderer holds Python's lock while it draws: in one
process nothing else would go on. And on some input it ends its process.
"""

import json
import os
import signal

import vl_convert


def main() -> None:
    """Answer each specification with {"svg": ...}, or with {"error": ...} where the renderer refuses it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits: it closes the input
    with os.fdopen(os.dup(1), "wb") as out, os.fdopen(0, "rb") as specs:
        os.dup2(2, 1)  # what the renderer prints is no answer
        for spec in specs:
            try:
                said = {"svg": vl_convert.vegalite_to_svg(spec.decode(), allowed_base_urls=[])}
            except Exception as error:  # noqa: BLE001  the renderer's own, of no documented kind
                said = {"error": str(error)}
            out.write(json.dumps(said).encode() + b"\n")
            out.flush()


if __name__ == "__main__":
    main()
