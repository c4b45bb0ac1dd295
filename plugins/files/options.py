"""The options of uploads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from xmppd.config import Duration, Size, option

_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True)
class Config:
    size: Size = option(Size("100 MiB"), "Largest file.", low=1)
    profile_size: Size = option(
        Size("10 MiB"), "Largest file for a profile (avatars), which is kept without limit.", low=1
    )
    per_day: Size = option(Size("1 GiB"), "Bytes that one account may upload within 24 hours.", low=1)
    per_account: Size = option(Size("10 GiB"), "Bytes that one account may have here at once.", low=1)
    files: int = option(5000, "Files that one account may have here at once.", low=1, high=1_000_000)
    keep: Duration = option(Duration("90 days"), "How long a file of a message is kept; 0: without limit.", low=0)
    permanent: bool = option(
        True, "Take files that are to stay (as of blogs): without limit of time, within `per_account`."
    )
    slot: Duration = option(
        Duration("5 minutes"), "Time from the request for a slot to the upload.", low=10, high=86_400
    )
    address: str = option("", "XMPP address of the service, a domain; `upload.` and the domain of the host if empty.")
    public_url: str = option(
        "",
        "Address under which files are reached, as `https://files.example.org`: a name that serves nothing else, so "
        "that what people upload has no part in other pages. Empty: the host's own.",
    )
    folder: str = option("", "Folder for the files; empty: `uploads` in the folder `var`.")
    bucket: str = option("", "S3-compatible bucket for the files, as `name` or `name/prefix`, in place of the folder.")
    endpoint: str = option("", "Address of the S3 service; empty: Amazon's.")
    region: str = option("us-east-1", "Region of the bucket.")
    access_key: str = option("", "Key id for the bucket; empty: from the environment.")
    secret_key: str = option("", "Secret key for the bucket.", secret=True)
    memory: Size = option(
        Size("64 MiB"),
        "Memory for uploads under way, and as much for downloads: at most 1,024 and 2,048 of them at once. Further "
        "ones are answered 503 with `Retry-After`.",
        low=1 << 20,
    )
    memory_per_account: Size = option(
        Size("16 MiB"),
        "The same for the uploads of one account (512), and for downloads of its files (1,024); further ones: 429.",
        low=32 << 10,
    )
    scan: tuple[str, ...] = option(
        (), "Command that looks at each file before it can be fetched (its name is added); exit status 0: harmless."
    )
    scan_time: Duration = option(Duration("1 minute"), "Time for that; a file that takes longer is refused.", low=1)

    def check(self) -> Iterable[tuple[str, str]]:
        if self.public_url and _URL.fullmatch(self.public_url) is None:
            yield "public_url", f"expected an address such as 'https://files.example.org', got {self.public_url!r}"
        if self.bucket and _BUCKET.fullmatch(self.bucket) is None:
            yield "bucket", f"expected the name of a bucket, got {self.bucket!r}"
        if self.bucket and self.folder:
            yield "bucket", "files are in a folder or in a bucket"
