"""Pictures as people have them: rotated, transparent, animated, 16-bit, broken, hostile."""

import base64
import contextlib
import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from halluguard import ImageError
from halluguard.images import limit_aspect, load_image, resolve_inside
from halluguard.prompting.conversation import asked


def encoded(picture, kind="PNG", **settings):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


RED = Image.new("RGB", (6, 4), (255, 0, 0))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LA", "I", "F", "I;16", "HSV", "LAB"])
def test_every_mode_becomes_rgb(mode):
    picture = (
        Image.new("L", (5, 3), 128).convert(mode)
        if mode == "I;16"
        else Image.new("RGB", (5, 3)).convert(mode if mode not in ("LA", "LAB") else "RGB")
    )
    assert load_image(picture).mode == "RGB"
    assert load_image(picture).size == (5, 3)


def test_sixteen_bits_keep_their_shades():
    """A plain convert("RGB") clips everything above 255 to white."""
    ramp = Image.fromarray(np.linspace(0, 65535, 100).astype(np.uint16)[None])
    values = np.asarray(load_image(ramp))[0, :, 0]
    assert values[0] == 0
    assert values[-1] == 255
    assert 120 < values.mean() < 135


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert load_image(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "P"])
def test_an_image_is_opened_at_a_fraction_of_its_size(kind, mode):
    if (kind, mode) in (("JPEG", "RGBA"), ("JPEG", "P"), ("PNG", "CMYK")):
        pytest.skip(f"{kind} does not hold {mode}")
    picture = Image.linear_gradient("L").resize((120, 90)).convert("RGB").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    data = encoded(picture, kind, exif=exif)
    whole = load_image(data)
    small = load_image(data, shrink_to=3_000)
    assert whole.size == (90, 120)
    assert small.size == (45, 60)
    assert np.abs(np.asarray(small, float) - np.asarray(whole.reduce(2), float)).max() < 12
    assert load_image(data, shrink_to=120 * 90).size == (90, 120)


def test_a_model_is_shown_a_large_image_at_a_fraction_of_its_size(monkeypatch):
    monkeypatch.setattr("halluguard.images.MAX_MODEL_PIXELS", 1_000)
    conversation = asked(Image.new("RGB", (100, 40)), "What is this?")
    assert [image.size for image in conversation.images] == [(50, 20)]
    assert [image.size for image, _ in conversation.subjects] == [(100, 40)]  # boxes are of the original


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "I;16", "F"])
def test_converting_strip_by_strip_changes_no_pixel(mode, monkeypatch):
    from halluguard import images

    rng = np.random.default_rng(0)
    image = {
        "I;16": lambda: Image.fromarray(rng.integers(0, 65535, (31, 17)).astype(np.uint16)),
        "F": lambda: Image.fromarray(rng.normal(size=(31, 17)).astype(np.float32)),
    }.get(mode, lambda: Image.fromarray(rng.integers(0, 255, (31, 17, 4), dtype=np.uint8)).convert(mode))()
    whole = np.asarray(load_image(image))
    monkeypatch.setattr(images, "_STRIP", 40)
    assert (np.asarray(load_image(image)) == whole).all()


def test_a_large_image_takes_little_more_memory_than_its_pixels():
    """One of 99.8 megapixels took 2.1 GiB: five copies of it were held at once."""
    code = """
import resource, sys
import numpy
from PIL import Image
from halluguard.images import load_image
image = Image.new("RGBA", (6000, 6000))
image.load()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
load_image(image)
taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB; the result has 4 bytes per pixel
sys.exit(taken > 36_000_000 * 6 / 1024)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate a quarter turn
    assert load_image(encoded(RED, "JPEG", exif=exif)).size == (4, 6)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    red, _, blue = load_image(data).getpixel((1, 1))
    assert red > 200 > 50 > blue


def sources_of(picture):
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    data = encoded(picture)
    return {
        "array": array,
        "tensor of bytes": tensor,
        "tensor of shares": tensor / 255,
        "tensor of bfloat16": (tensor / 255).bfloat16(),
        "tensor with a gradient": (tensor / 255).requires_grad_(),
        "bytes": data,
        "open file": io.BytesIO(data),
        "data URL": "data:image/png;base64," + base64.b64encode(data).decode(),
    }


@pytest.mark.parametrize("kind", sources_of(RED))
def test_an_image_is_the_same_in_whatever_holds_it(kind):
    picture = Image.new("RGB", (6, 4), (255, 0, 51))
    picture.putpixel((1, 3), (0, 255, 0))
    source = sources_of(picture)[kind]
    for _ in range(2):  # an open file is read from its beginning each time
        assert np.array_equal(np.asarray(load_image(source)), np.asarray(picture))


def test_a_file_is_read_from_its_beginning_and_where_it_cannot_go_back_from_where_it_stands(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(encoded(RED))
    with path.open("rb") as file:
        file.read(5)
        assert load_image(file).size == (6, 4)
        assert not file.closed
    reading, writing = os.pipe()
    os.write(writing, encoded(RED))
    os.close(writing)
    with os.fdopen(reading, "rb") as body:
        assert load_image(body).size == (6, 4)


def test_a_grey_tensor_may_have_a_channel_or_none():
    assert load_image(torch.zeros(4, 6)).size == (6, 4)
    assert load_image(torch.ones(1, 4, 6)).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(torch.zeros(4, 4, 6)).getpixel((0, 0)) == (255, 255, 255), "transparent, so white"


def test_a_file_without_an_end_is_refused(monkeypatch):
    from halluguard import image_objects

    monkeypatch.setattr(image_objects, "MAX_BYTES", 1000)
    with open("/dev/zero", "rb") as endless, pytest.raises(ImageError, match="at most 1,000 bytes"):
        load_image(endless)


def test_arrays_and_one_pixel():
    assert load_image(np.zeros((1, 1), np.uint8)).size == (1, 1)
    assert load_image(np.zeros((2, 3, 4), np.uint8)).size == (3, 2)
    assert load_image(np.full((2, 3, 3), 7, np.uint8)).getpixel((2, 1)) == (7, 7, 7)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "expected an image"),
        (b"not a picture", "expected an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "expected an image"),
        (encoded(RED, "JPEG")[:200], "could not read|expected an image"),
        (encoded(Image.effect_noise((64, 64), 50))[:-600], "could not read"),
        ("nowhere.png", "no image at"),
        ("https://host/street.jpg", "begins with 'https://'.* give the bytes of the image"),
        ("data:image/png;base64,iVBO", "expected an image"),
        ("data:image/png;base64,???", "data: URL in base64"),
        ("data:text/plain,dog", "should end in ;base64"),
        (io.StringIO("text"), "open it with mode 'rb'"),
        (torch.full((3, 2, 2), -0.5), "undo the normalisation"),
        (torch.zeros(2, 3, 4, 4), r"expected a tensor of shape .*\(2, 3, 4, 4\)"),
        (torch.zeros(3, 2, 2, dtype=torch.int64), "got int64"),
        ("a\x00b", "no image at"),
        (42, "got int"),
        (np.zeros((2, 2, 3), np.float32), "uint8 array"),
    ],
)
def test_what_is_no_picture_is_said_in_one_sentence(source, words):
    with pytest.raises(ImageError, match=words):
        load_image(source)


def test_folders_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ImageError, match="folder or device"):
            load_image(path)


def test_a_huge_picture_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match="at most 100,000,000 pixels"):
        load_image(encoded(Image.new("1", (20_000, 20_000))))


def test_strips_are_padded_and_keep_coordinates():
    strip = Image.new("RGB", (1, 500), "red")
    padded = limit_aspect(strip)
    assert padded.size == (63, 500)
    assert padded.getpixel((0, 499)) == (255, 0, 0)
    assert limit_aspect(RED) is RED


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/passwd", "a/../../x", "http://host/x.png", "C:\\x", "~/x", "link/x.png"]
)
def test_no_path_leads_outside_the_folder(tmp_path, name):
    root = tmp_path / "images"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ImageError, match="inside the folder"):
        resolve_inside(root, name)
    assert resolve_inside(root, "a/b.png") == root.resolve() / "a" / "b.png"


def test_an_absolute_path_inside_the_folder_is_inside(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    assert resolve_inside(root, f"{root}/a/b.png") == root.resolve() / "a" / "b.png"
    with pytest.raises(ImageError, match="leads outside"):
        resolve_inside(root, f"{root}/../b.png")
    with pytest.raises(ImageError, match="leads outside"):
        resolve_inside(root, f"{root}-other/b.png")


def test_the_limit_of_webp_is_half_because_its_decoder_takes_twice_the_memory():
    assert load_image(encoded(RED, "PNG"), max_pixels=RED.width * RED.height).size == RED.size
    with pytest.raises(ImageError, match="shrink it"):
        load_image(encoded(RED, "WEBP"), max_pixels=RED.width * RED.height)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5, 1), (4, 5, 7), (2, 2, 2, 2), (5,)])
def test_an_array_of_another_shape_is_an_image_error(shape):
    with pytest.raises(ImageError, match="channels last"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("size", [(9990, 9990), (1_000_000, 99), (30, 3_000_000), (20_000, 4_000)])
def test_what_a_detector_is_shown_is_bounded_and_its_boxes_are_those_of_the_image(size):
    """A strip of a million pixels was padded to a hundred gigapixels."""
    from halluguard.images import MAX_MODEL_PIXELS, limit_size

    shown, factor = limit_size(Image.new("RGB", size))
    assert shown.width * shown.height <= MAX_MODEL_PIXELS * 1.1
    assert shown.width * factor >= size[0]
    assert shown.height * factor >= size[1]


def test_a_small_image_is_shown_as_it_is():
    from halluguard.images import limit_size

    image = Image.new("RGB", (640, 480))
    assert limit_size(image) == (image, 1)


@pytest.mark.parametrize(("name", "form"), [("a.avif", "AVIF"), ("a.jp2", "JPEG2000"), ("a.heic", "HEIF")])
def test_phone_and_web_formats_are_read_with_the_extra_and_named_without_it(tmp_path, monkeypatch, name, form):
    pytest.importorskip("pillow_heif")
    from halluguard import image_files, images

    image_files.formats()  # registers the format
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / name, form)
    opened = load_image(tmp_path / name)
    assert opened.size == (64, 48)
    assert abs(opened.getpixel((30, 20))[0] - 200) < 12
    monkeypatch.setattr(image_files, "formats", lambda: image_files.FORMATS)
    monkeypatch.setattr(images, "formats", lambda: image_files.FORMATS)
    for source in (tmp_path / name, (tmp_path / name).read_bytes()):
        with pytest.raises(ImageError, match=r"halluguard-mllm\[heif\]"):
            load_image(source)


def test_an_opened_image_is_not_copied_and_one_with_more_to_it_is():
    plain = Image.new("RGB", (4, 4))
    assert load_image(plain) is plain
    turned = Image.new("RGB", (4, 2))
    turned.getexif()[0x0112] = 6
    assert load_image(turned).size == (2, 4)
    assert load_image(Image.new("RGBA", (4, 4))).mode == "RGB"


def test_plain_text_is_decoded_up_to_a_twentieth_of_the_limit():
    small, large = (b"P3 %d 10 255\n" % width + b"0 " * (width * 30) for width in (5, 11))
    assert load_image(small, max_pixels=1000).size == (5, 10)
    with pytest.raises(ImageError, match="at most 50 pixels"):
        load_image(large, max_pixels=1000)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


PNG, JPEG, GIF = (encoded(Image.new("P" if kind == "GIF" else "RGB", (8, 8)), kind) for kind in ("PNG", "JPEG", "GIF"))
SCREEN = slice(13 + 3 * 2 ** ((GIF[10] & 7) + 1))  # header and colours of a GIF
MANY = 5000
MANY_PARTS = {
    "chunks of PNG": PNG[:33] + chunk(b"tEXt", b"a\0b") * MANY + PNG[33:],
    "chunks after the pixels": PNG[:-12] + chunk(b"tEXt", b"a\0b") * MANY + PNG[-12:],
    "pixels in chunks of a byte": PNG[:33]
    + b"".join(chunk(b"IDAT", bytes([byte])) for byte in zlib.compress(os.urandom(MANY), 0))
    + PNG[-12:],
    "segments of JPEG": JPEG[:2] + b"\xff\xe5\0\2" * MANY + JPEG[2:],
    "filler of JPEG": JPEG[:2] + b"\xff" * MANY + JPEG[2:],
    "a comment of PPM": b"P6\n#" + b"x" * MANY + b"\n1 1 255\n000",
    "spaces of PPM": b"P6" + b" " * MANY + b"1 1 255\n000",
    "comments of GIF": GIF[SCREEN] + b"!\xfe\1x\0" * MANY + GIF[SCREEN.stop :],
    "filler of GIF": GIF[SCREEN] + bytes(MANY) + GIF[SCREEN.stop :],
}


@pytest.mark.parametrize("parts", MANY_PARTS)
def test_a_file_of_very_many_parts_is_refused(parts, monkeypatch, tmp_path):
    from halluguard import image_files

    (tmp_path / "a.png").write_bytes(MANY_PARTS[parts])
    monkeypatch.setattr(image_files, "MAX_READS", 2000)
    for source in (MANY_PARTS[parts], tmp_path / "a.png"):
        with pytest.raises(ImageError, match="read in at most 2,000 steps"):
            load_image(source)


def test_metadata_before_the_pixels_is_bounded(monkeypatch):
    from halluguard import image_files

    segment = b"\xff\xe1" + struct.pack(">H", 5002) + b"Exif\0\0" + b"x" * 4994
    data = JPEG[:2] + segment * 10 + JPEG[2:]
    assert load_image(data).size == (8, 8)
    monkeypatch.setattr(image_files, "MAX_METADATA", 40_000)
    with pytest.raises(ImageError, match="at most 40,000 bytes of metadata"):
        load_image(data)
    assert load_image(encoded(Image.effect_noise((300, 300), 50))).size == (300, 300)  # pixels are no metadata


@pytest.mark.parametrize("after", [True, False])
def test_the_header_of_a_png_is_read_without_its_pixels(after, monkeypatch):
    from halluguard.image_files import header

    turned = Image.Exif()
    turned[0x0112] = 6
    exif = chunk(b"eXIf", turned.tobytes()[6:])
    data = PNG[:-12] + exif + PNG[-12:] if after else PNG[:33] + exif + PNG[33:]
    assert load_image(data).getexif() == {}
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("the pixels were decoded"))
    assert header(io.BytesIO(data)) == ((8, 8), 6)
    assert header(io.BytesIO(PNG)) == ((8, 8), 1)


@pytest.mark.parametrize("data", [encoded(Image.new("L", (8, 8))), encoded(Image.effect_noise((64, 64), 50))[:-600]])
def test_the_pixels_of_a_file_are_freed_at_once(data, monkeypatch):
    from halluguard import images

    opened = []
    monkeypatch.setattr(images, "open_file", lambda file: opened.append(Image.open(file)) or opened[-1])
    with contextlib.suppress(ImageError):
        load_image(data)
    with pytest.raises(ValueError, match="closed"):
        opened[0].getpixel((0, 0))


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    from halluguard import images

    decoding, most = [], []

    def slowly(image, shrink_to):
        decoding.append(image)
        time.sleep(0.005)
        most.append(len(decoding))
        decoding.remove(image)
        return image

    monkeypatch.setattr(images, "_decoded", slowly)
    monkeypatch.setattr(images, "MAX_MODEL_PIXELS", 63)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(load_image, [PNG] * 8))
    assert most == [1] * 8


def test_small_images_are_decoded_together(monkeypatch):
    from halluguard import images

    together = threading.Barrier(4)
    monkeypatch.setattr(images, "_decoded", lambda image, shrink_to: together.wait(60))
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(load_image, [PNG] * 4)) == [0, 1, 2, 3]
