import hashlib
import hmac
from collections.abc import Mapping


def is_genuine(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Whether a request for a code comes from the server, and is not an old one."""
    at = headers["Xmppd-Timestamp"]
    wanted = "sha256=" + hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers["Xmppd-Signature"], wanted) and abs(now - int(at)) < 300
