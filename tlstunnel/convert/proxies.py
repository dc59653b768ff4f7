"""
Proxies on the way out, as others have them, in our form.

What logs in there is kept out of what is written: it belongs into a file of its own.
"""

from __future__ import annotations

from tlstunnel.convert.draft import Draft
from tlstunnel.net.via import parseVia


def goThrough(draft: Draft, url: str) -> None:
    """
    Let a tunnel connect through a proxy.

    @param url: where that is, perhaps with a user and a password.
    @raise ValueError: it is no proxy that we can speak to; the message is a sentence for the user,
        without the password.
    """
    scheme, colon, authority = url.partition("://")
    if not colon:
        raise ValueError("is no URL of a proxy; write http://HOST:PORT")
    login, at, _ = authority.rpartition("@")
    draft.values["via"] = str(parseVia(f"{scheme}://{authority.removeprefix(login + at)}"))
    if at:
        draft.values["via-auth-file"] = f"{draft.name}.login"
        draft.notes.append(
            f"Write a line user:password into {draft.name}.login beside this file, and let nobody "
            "else read it (chmod 600): that is what the proxy is told. It is not written here."
        )
