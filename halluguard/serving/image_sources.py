"""Read the images that a request names: data URLs, files of one folder, and public addresses.

A server that fetches any address can be made to contact hosts that only it can reach. So images are fetched only if the
server was started with that option. The host's addresses are resolved once, all of them must be public, and the request
goes to a checked address. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from halluguard.errors import ImageError
from halluguard.images import resolve_inside
from halluguard.serving.errors import ApiError, invalid
from halluguard.serving.settings import ServerSettings


async def read_image(url: object, settings: ServerSettings, param: str) -> bytes:
    """The bytes of the image at a URL of a request.

    Args:
        url: a data: URL, a file:// URL, or an http(s) address.
        settings: allowed sources, and largest size of an image.
        param: its position in the request, for the error.

    Raises:
        ApiError: the URL is not one of these, is not allowed, or cannot be read.
    """
    if not isinstance(url, str):
        raise invalid(f"expected the URL of an image as a text, got {type(url).__name__}; send a text", param)
    scheme = url[:8].partition(":")[0].lower()
    if scheme == "data":
        return _decoded(url, param)
    if scheme == "file":
        return await asyncio.to_thread(_file, url, settings, param)
    if scheme in ("http", "https"):
        if not settings.fetch:
            raise invalid("images are not fetched from the network by this server; send a data: URL", param)
        return await _fetched(url, settings, param)
    raise invalid(f"expected a data: URL of an image, got {url[:40]!r}; encode the image", param)


def _decoded(url: str, param: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise invalid("expected a data: URL of the form data:image/png;base64,..., got another form", param)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"the image is not base64 ({error}); encode it again", param) from None


def _file(url: str, settings: ServerSettings, param: str) -> bytes:
    if settings.images is None:
        raise invalid("files of this server may not be named in requests; send a data: URL", param)
    root, data = settings.images.resolve(), b""
    try:
        path = Path(unquote(urlsplit(url).path))
        path = resolve_inside(root, str(path if path.is_relative_to(root) else path.relative_to(path.anchor)))
        if not path.is_file():
            raise ValueError("no file")
        with path.open("rb") as file:
            data = file.read(settings.max_body + 1)
    except (ImageError, OSError, ValueError):  # outside the folder, missing, or an impossible name
        name = url.rpartition("/")[2][:100]
        raise invalid(
            f"expected a file in the folder of images, got {name!r}, which is not there; check the name", param
        ) from None
    if len(data) > settings.max_body:
        raise invalid(f"expected an image of at most {settings.max_body:,} bytes, got a larger one; shrink it", param)
    return data


async def _fetched(url: str, settings: ServerSettings, param: str) -> bytes:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise invalid("the address of the image cannot be read; check it", param) from None
    ip = await _public_address(address, param)
    target = address.copy_with(host=f"[{ip}]" if ":" in ip else ip)
    host = address.netloc.decode("ascii").rpartition("@")[2]
    body = bytearray()
    try:
        async with (
            asyncio.timeout(settings.read_timeout),
            httpx.AsyncClient(timeout=settings.read_timeout, follow_redirects=False, trust_env=False) as client,
            client.stream(
                *("GET", target),
                headers={"Host": host, "Accept-Encoding": "identity"},
                extensions={"sni_hostname": address.host},
            ) as response,
        ):
            if response.status_code != 200:
                raise invalid(f"the image's host answered with status {response.status_code}; check the address", param)
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > settings.max_body:
                    raise invalid(
                        f"expected an image of at most {settings.max_body:,} bytes, got a larger one; shrink it", param
                    )
    except (TimeoutError, httpx.HTTPError) as error:
        raise invalid(f"the image could not be fetched ({type(error).__name__}); send a data: URL", param) from None
    return bytes(body)


async def _public_address(address: httpx.URL, param: str) -> str:
    """An IP address of the host; all addresses of the host must be public."""
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        resolved = await asyncio.get_running_loop().getaddrinfo(address.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise invalid("the host of the image is not known; check the address", param) from None
    addresses = [str(entry[4][0]).partition("%")[0] for entry in resolved]
    if not addresses or not all(_is_public(ip) for ip in addresses):
        raise ApiError(400, "the image is on a private address, which is never fetched; send a data: URL", param=param)
    return addresses[0]


def _is_public(ip: str) -> bool:
    """Whether an address is on the public Internet; an IPv6 address that stands for an IPv4 address is judged as that.

    >>> _is_public("8.8.8.8"), _is_public("10.0.0.1"), _is_public("::ffff:127.0.0.1"), _is_public("169.254.169.254")
    (True, False, False, False)
    """
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
        if address in ipaddress.ip_network("64:ff9b::/96"):  # an IPv4 address behind NAT64
            return False
    return address.is_global and not address.is_multicast
