"""The signer's certificate out of a C2PA manifest store.

c2pa-python tells a signer's name and serial number, which anybody can copy, but not the certificate. A manifest store
is nested JUMBF boxes (ISO 19566-5); the claim's signature is a COSE_Sign1 structure (RFC 9052) in CBOR (RFC 8949), and
the certificate chain is its header 33 (`x5chain`, RFC 9360).

- `signing_certificate`: from the bytes of a store and the label of a manifest to the certificate's DER

Everything is required to be there exactly once: a store with two of anything could show one to the library that
checks the signature and the other to this reader.
"""

from collections.abc import Iterator
from typing import Any

X5CHAIN = 33
_MANIFESTS = (b"c2ma", b"c2um")  # an ordinary manifest, an update manifest
_DEPTH = 32  # nested CBOR items and boxes; real stores have fewer than ten


def signing_certificate(store: bytes, manifest: str) -> bytes | None:
    """DER of the certificate whose key signed `manifest`; None where it cannot be told without doubt.

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
    # before C2PA 1.4 the header had a name in the unprotected map
    chains += [header["x5chain"] for header in headers if "x5chain" in header]
    (chain,) = chains
    leaf = chain[0] if isinstance(chain, list) else chain
    return leaf if isinstance(leaf, bytes) else None


def _split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and payload of each box in a row of boxes."""
    at = 0
    while at < len(data):
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = len(data) - at
        if size < start - at or at + size > len(data):
            raise ValueError("box runs over its parent")
        yield kind, data[start : at + size]
        at += size


def _described(superbox: bytes) -> tuple[tuple[bytes, str], bytes]:
    """(Four-letter type, label) and the remaining boxes of a superbox."""
    size = int.from_bytes(superbox[:4], "big")
    if superbox[4:8] != b"jumd" or not 25 <= size <= len(superbox):
        raise ValueError("superbox without a description")
    description = superbox[8:size]
    label = description[17:].split(b"\0")[0].decode() if description[16] & 2 else ""
    return (description[:4], label), superbox[size:]


def _boxes(data: bytes) -> list[bytes]:
    return [payload for kind, payload in _split(data) if kind == b"jumb"]


def _children(superbox: bytes) -> list[tuple[bytes, str, bytes]]:
    """Type, label and payload of each superbox inside one."""
    _, contents = _described(superbox)
    return [(*_described(payload)[0], payload) for payload in _boxes(contents)]


def _decode(data: bytes) -> Any:
    item, end = _item(data, 0, 0)
    if end != len(data):
        raise ValueError("bytes after the item")
    return item


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The CBOR item at `at` and where it ends; definite lengths only, which is what C2PA's COSE uses."""
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
                raise ValueError("key twice")
            pairs[key] = item
        return pairs, at
    if major == 6:
        return _item(data, at, depth + 1)  # a tag, such as 18 for COSE_Sign1
    return {20: False, 21: True, 22: None}.get(low), at
