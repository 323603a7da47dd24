# ruff: noqa: INP001 - no package: nothing in this folder but these is to be found
"""What mitmproxy loads: the addon, from a folder that holds nothing else.

mitmproxy puts the folder of a script first on `sys.path` and leaves it there. In the
package's own folder, unstream/httpx.py would then be every other addon's `httpx`.
"""

from unstream.mitmproxy import addons

__all__ = ["addons"]
