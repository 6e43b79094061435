"""Images by address: only where the server allows it, never from a private host, never outside the folder."""

import asyncio
import os

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install fastapi uvicorn prometheus-client")

from halluguard.serving import ApiError, ServerSettings, image_sources
from halluguard.serving.image_sources import read_image


def read(url, **settings):
    return asyncio.run(read_image(url, ServerSettings(**settings), "here"))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "[::1]", "224.0.0.1"),
        *(
            "[::ffff:10.0.0.1]",
            "[64:ff9b::a00:1]",
            "[fe80::1]",
            "[2002:7f00:1::]",
            "2130706433",
            "0x7f.1",
            "100.64.0.1",
        ),
    ],
)
def test_private_addresses_are_never_asked(host):
    with pytest.raises(ApiError, match=r"private address|is not known|cannot be read"):
        read(f"http://{host}/image.png", fetch=True)


def test_a_name_that_has_one_private_address_is_refused(monkeypatch):
    async def addresses(host, port, **_):
        return [(2, 1, 6, "", ("93.184.216.34", port)), (2, 1, 6, "", ("127.0.0.1", port))]

    class Loop:
        getaddrinfo = staticmethod(addresses)

    monkeypatch.setattr(image_sources.asyncio, "get_running_loop", Loop)
    with pytest.raises(ApiError, match="private address"):
        asyncio.run(image_sources._public_address(image_sources.httpx.URL("http://rebind.example/"), "here"))


def test_files_are_read_from_their_folder_alone(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a b.png").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert read("file:///a%20b.png", images=folder) == b"inside"
    assert read(f"file://{folder}/a%20b.png", images=folder) == b"inside"
    for url in ("file:///../secret", "file:///%2e%2e/secret", f"file://{tmp_path}/secret", "file:///link"):
        with pytest.raises(ApiError, match="not there"):
            read(url, images=folder)


@pytest.mark.parametrize("name", ["%00", "\ud800", "a" * 5_000, "[x", "loop", "pipe", "/", "C:/a.png"])
def test_a_name_that_no_file_can_have_is_refused(name, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for start in ("file:///", "file://"):
        with pytest.raises(ApiError, match="not there"):
            read(start + name, images=tmp_path)


def test_a_long_file_is_not_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x" * 2_000)
    with pytest.raises(ApiError, match="at most 1,500 bytes"):
        read("file:///a.png", images=tmp_path, max_body=1_500)
