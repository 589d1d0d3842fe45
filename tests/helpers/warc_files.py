"""WARC files made on the spot, whole or broken in a chosen way."""

import gzip
from pathlib import Path

PAGE = "<html><body><h1>{title}</h1>{paragraphs}</body></html>"
SENTENCE = "The {number}th step is to water the young plant in the morning, because the soil dries out by noon. "


def page(title: str = "How to water plants", sentences: int = 12, first: int = 1) -> str:
    """A page with one section of about a hundred characters per sentence."""
    text = "".join(f"<p>{SENTENCE.format(number=number)}</p>" for number in range(first, first + sentences))
    return PAGE.format(title=title, paragraphs=text)


def record(
    body: bytes,
    url: str | None = "https://example.org/page",
    content_type: str = "text/html; charset=utf-8",
    status: str = "200 OK",
    headers: str = "",
) -> bytes:
    """A response record, not compressed."""
    http = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}\r\n".encode() + body
    address = f"WARC-Target-URI: {url}\r\n" if url else ""
    return warc_record("response", "application/http; msgtype=response", address, http)


def warc_record(kind: str, content_type: str, headers: str, block: bytes) -> bytes:
    """Any record, not compressed."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:12345678-1234-1234-1234-123456789012>\r\n"
        f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Type: {content_type}\r\n{headers}"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def write_warc(path: Path, *records: bytes) -> Path:
    """Write records, each as a gzip member of its own where the name ends in .gz."""
    path.write_bytes(b"".join(gzip.compress(data) if path.suffix == ".gz" else data for data in records))
    return path
