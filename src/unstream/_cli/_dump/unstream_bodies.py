# ruff: noqa: INP001 - no package: nothing in this folder but these is to be found
"""What `mitmdump -nr` loads to hand out the bodies of a file of flows.

It needs nothing but mitmproxy, whose Python may be another one than unstream's. A line
for each flow goes to standard output, behind a word that no other line begins with.
"""

import json
import sys
from base64 import b64encode
from typing import Any

__all__ = ["addons"]


class _Bodies:
    def response(self, flow: Any) -> None:
        """Write down a flow; mitmproxy calls this also for one that broke off."""
        request, response = flow.request, flow.response
        body = response.get_content(strict=False)
        start, first = request.timestamp_start, response.timestamp_start
        end = response.timestamp_end
        line = {
            "method": request.method,
            "path": request.path,
            "body": None if body is None else b64encode(body).decode(),
            "started": start,
            "first_byte": None if first is None else first - start,
            "total": None if end is None else end - start,
        }
        sys.stdout.write(f"unstream {json.dumps(line)}\n")
        sys.stdout.flush()


addons = [_Bodies()]
