"""Extracts the signer's certificate from a C2PA manifest store.

c2pa-python returns the signer's name and serial number, which anyone can copy, but not the certificate. A manifest
store consists of nested JUMBF boxes (ISO 19566-5); the signature of a claim is a COSE_Sign1 structure (RFC 9052) in
CBOR (RFC 8949), with the certificate chain in its header 33 (`x5chain`, RFC 9360).

Every part must occur exactly once: otherwise a store could present one part to the library that checks the signature,
and another to this reader.
"""

from collections.abc import Iterator
from typing import Any

X5CHAIN = 33
_MANIFESTS = (b"c2ma", b"c2um")  # an ordinary manifest, an update manifest
_DEPTH = 32  # nested CBOR items and boxes; real stores have fewer than ten


def signing_certificate(store: bytes, manifest: str) -> bytes | None:
    """DER of the certificate that signed `manifest`; None unless it is unambiguous.

    Args:
        store: a C2PA manifest store, one JUMBF superbox.
        manifest: label of a manifest in it.

    >>> signing_certificate(b"not a store", "urn:c2pa:x") is None
    True
    """
    try:
        (root,) = _boxes(store)
        found = [box for box in _children(root) if box[0] in _MANIFESTS and box[1] == manifest]
        ((_, _, body),) = found
        ((_, _, signature),) = [box for box in _children(body) if box[1] == "c2pa.signature"]
        _, contents = _described(signature)
        ((kind, cose),) = list(_split(contents))
        if kind != b"cbor":
            return None
        return _leaf(_decode(cose))
    except (ValueError, IndexError, TypeError):  # malformed: too few or too many boxes, a truncated item
        return None


def _leaf(cose: Any) -> bytes | None:
    protected, unprotected = cose[0], cose[1]
    headers = [_decode(protected) if protected else {}, unprotected]
    chains = [header[X5CHAIN] for header in headers if X5CHAIN in header]
    # before C2PA 1.4: a named header in the unprotected map
    chains += [header["x5chain"] for header in headers if "x5chain" in header]
    (chain,) = chains
    leaf = chain[0] if isinstance(chain, list) else chain
    return leaf if isinstance(leaf, bytes) else None


def _split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and payload of each of several consecutive boxes."""
    at = 0
    while at < len(data):
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = len(data) - at
        if size < start - at or at + size > len(data):
            raise ValueError("box extends beyond its parent")
        yield kind, data[start : at + size]
        at += size


def _described(superbox: bytes) -> tuple[tuple[bytes, str], bytes]:
    """(Four-letter type, label) of a superbox, and its remaining content."""
    size = int.from_bytes(superbox[:4], "big")
    if superbox[4:8] != b"jumd" or not 25 <= size <= len(superbox):
        raise ValueError("superbox without a description")
    description = superbox[8:size]
    label = description[17:].split(b"\0")[0].decode() if description[16] & 2 else ""
    return (description[:4], label), superbox[size:]


def _boxes(data: bytes) -> list[bytes]:
    return [payload for kind, payload in _split(data) if kind == b"jumb"]


def _children(superbox: bytes) -> list[tuple[bytes, str, bytes]]:
    """Type, label and payload of each superbox inside a superbox."""
    _, contents = _described(superbox)
    return [(*_described(payload)[0], payload) for payload in _boxes(contents)]


def _decode(data: bytes) -> Any:
    item, end = _item(data, 0, 0)
    if end != len(data):
        raise ValueError("trailing bytes")
    return item


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The CBOR item at `at`, and its end; definite lengths only, as used in C2PA."""
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if low < 24:
        value = low
    elif low <= 27:
        width = 1 << (low - 24)
        if at + width > len(data):
            raise ValueError("truncated number")
        value, at = int.from_bytes(data[at : at + width], "big"), at + width
    else:
        raise ValueError("indefinite length")
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        if at + value > len(data):
            raise ValueError("truncated string")
        raw = data[at : at + value]
        return (raw if major == 2 else raw.decode()), at + value
    if major == 4:
        items = []
        for _ in range(value):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        pairs: dict[Any, Any] = {}
        for _ in range(value):
            key, at = _item(data, at, depth + 1)
            item, at = _item(data, at, depth + 1)
            if key in pairs:
                raise ValueError("duplicate key")
            pairs[key] = item
        return pairs, at
    if major == 6:
        return _item(data, at, depth + 1)  # a tag, such as 18 for COSE_Sign1
    return {20: False, 21: True, 22: None}.get(low), at
