"""What opens the doors: the token, and the browser's cookie that is signed from it."""

import hmac
from typing import Final

COOKIE_LIFETIME_S: Final = 30 * 24 * 3600


class Keys:
    """The keys of one service; without a token every door is open to who passes the Host check."""

    def __init__(self, token: str | None, port: int) -> None:
        self.token = token
        # Cookies know no ports: two services on one machine would overwrite each other's.
        self.cookie_name = f"lossboard_{port}"

    def is_token(self, shown: str) -> bool:
        """Tell whether `shown` is the token, in a time that says nothing about it."""
        return self.token is not None and hmac.compare_digest(shown.encode(), self.token.encode())

    def sign_cookie(self, now_unix_s: float) -> str:
        """Make a cookie's value; it holds for `COOKIE_LIFETIME_S`, through restarts with the same token."""
        expires = str(int(now_unix_s) + COOKIE_LIFETIME_S)
        return f"{expires}.{self._sign(expires)}"

    def is_cookie(self, cookie_header: str, now_unix_s: float) -> bool:
        """Tell whether a Cookie header carries a value that we signed and that has not expired."""
        if self.token is None:
            return False
        expires, _, signature = self._find(cookie_header).partition(".")
        if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
            return False
        genuine = hmac.compare_digest(signature.encode(), self._sign(expires).encode())
        return genuine and now_unix_s < int(expires)

    def _find(self, cookie_header: str) -> str:
        # Cut by hand: http.cookies stops at the first malformed cookie, and on localhost every
        # program's cookies come along, also those that hold JSON.
        for part in cookie_header.split(";"):
            name, _, value = part.partition("=")
            if name.strip() == self.cookie_name:
                return value.strip()
        return ""

    def _sign(self, expires: str) -> str:
        # The prefix keeps this apart from `wire.prove`, which signs what strangers send.
        assert self.token is not None
        return hmac.new(self.token.encode(), b"cookie:" + expires.encode(), "sha256").hexdigest()
