"""Bytes into text, for pages whose encoding is not known for certain."""


def decode_text(data: bytes, charset: str | None) -> str:
    """Decode a page: as UTF-8 if it is valid UTF-8, else by its headers, its `meta` tag, or what its bytes suggest.

    Bytes that fit no encoding become U+FFFD.
    """
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    if not data.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\x1b" not in data:  # UTF-16, ISO-2022
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    # Python also has codecs of that name that make no text, or take words of the page for escapes.
    declared = map_encoding_to_html5(charset or "", fallback_utf8=False)
    for encoding in (declared, detect_encoding(data, from_html_meta=True), detect_encoding(data)):
        try:
            return data.decode(encoding or "")
        except (LookupError, UnicodeDecodeError):
            continue
    return data.decode("utf-8", "replace")
