"""Signatures name a file's kind by its first bytes, for error messages about files that can't be decoded."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Mapping

_HEAD = 4096  # bytes in which signatures are looked for

_LFS = "a Git LFS pointer, which stands for a file that was never fetched"
_ANNEX = "a git-annex pointer, which stands for a file that was never fetched"
_HTML = "an HTML page"
_PDF = "a PDF document"
_POSTSCRIPT = "a PostScript document (EPS)"
_TEXT = "plain text"
_DATA_URI = "the text of a data: URI"
_BASE64 = "text in base64"
_DECODED = "bytes that were decoded as text and written again, which destroys them"
_ZEROS = "nothing but zero bytes"
_REPR = "the text of Python's repr of bytes"

_REMEDIES: Mapping[str, str] = {
    _LFS: "fetch it: git lfs pull",
    _ANNEX: "fetch it: git annex get",
    _HTML: "fetch the file itself; a page in its place is often a login or an error",
    _DATA_URI: 'pass the bytes behind its comma: base64.b64decode(text.partition(",")[2])',
    _BASE64: "pass the bytes that it stands for: base64.b64decode(text)",
    _DECODED: "fetch it again, in binary mode",
    _ZEROS: "fetch it again; a download or a copy broke off before its bytes were written",
    _REPR: "pass the bytes themselves: ast.literal_eval(text)",
    "a gzip archive": "unpack it: gzip -d",
    "a NumPy array": "load it and pass the array: numpy.load(path)",
    "an archive of NumPy arrays": "load it and pass an array: numpy.load(path)[name]",
}

# A longer signature comes before one that it begins with.
_STARTS: tuple[tuple[bytes, str], ...] = (
    # Pictures
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\x89PNG", "a PNG picture damaged by a transfer as text"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0\x10\0\0\0CR", "a camera's raw file (CR2)"),
    (b"IIRO", "a camera's raw file (ORF)"),
    (b"IIRS", "a camera's raw file (ORF)"),
    (b"IIU\0", "a camera's raw file (RW2)"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (b"FOVb", "a camera's raw file (X3F)"),
    (b"\0MRM", "a camera's raw file (MRW)"),
    (b"II\xbc\x01", "a JPEG XR picture"),
    *((start, "a TIFF picture") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"\0\0\1\0", "a Windows icon"),
    (b"\0\0\2\0", "a Windows cursor"),
    (b"icns", "a macOS icon"),
    (b"qoif", "a QOI picture"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"#?RGBE", "a Radiance HDR picture"),
    (b"DDS ", "a DDS texture"),
    (b"\xabKTX ", "a KTX texture"),
    (b"BPG\xfb", "a BPG picture"),
    (b"FLIF", "a FLIF picture"),
    (b"farbfeld", "a farbfeld picture"),
    (b"AT&TFORM", "a DjVu document"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"\x01\xda\0", "an SGI picture"),
    (b"\x01\xda\1", "an SGI picture"),
    (b"\x59\xa6\x6a\x95", "a Sun raster picture"),
    # Sounds
    (b"fLaC", "a FLAC recording"),
    (b"riff\x2e\x91\xcf\x11", "a Wave64 recording"),
    (b".snd", "an AU recording"),
    (b"caff", "a CAF recording"),
    (b"#!AMR", "an AMR recording"),
    (b"MThd", "a MIDI file, notes rather than sound"),
    (b"wvpk", "a WavPack recording"),
    (b"MAC ", "a Monkey's Audio recording"),
    (b"TTA1", "a True Audio recording"),
    (b"MPCK", "a Musepack recording"),
    (b"MP+", "a Musepack recording"),
    (b"DSD ", "a DSD recording (DSF)"),
    (b"FRM8", "a DSD recording (DSDIFF)"),
    (b"ajkg", "a Shorten recording"),
    (b"\x0b\x77", "an AC-3 recording"),
    (b"\x7f\xfe\x80\x01", "a DTS recording"),
    (b"Creative Voice File", "a Creative Voice recording"),
    (b"Extended Module:", "a tracker module"),
    (b"IMPM", "a tracker module"),
    (b".RMF", "a RealMedia file"),
    (b".ra\xfd", "a RealAudio recording"),
    (b"ADIF", "an AAC recording"),
    *((bytes((0xFF, second)), "an AAC recording") for second in (0xF0, 0xF1, 0xF8, 0xF9)),
    *((bytes((0xFF, second)), "an MP3 recording") for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)),
    *((bytes((0xFF, second)), "an MPEG recording (layer 1 or 2)") for second in (0xFD, 0xFC, 0xF5, 0xF4)),
    # Films
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "an ASF file (WMA or WMV)"),
    (b"FLV\x01", "a Flash video"),
    (b"\0\0\1\xba", "an MPEG video"),
    (b"\0\0\1\xb3", "an MPEG video"),
    # Documents, archives, tables, programs
    (b"%PDF-", _PDF),
    (b"%!PS", _POSTSCRIPT),
    (b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE document, such as Word's .doc or Thumbs.db"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "a Parquet table"),
    (b"ARROW1", "an Arrow table"),
    (b"\x7fELF", "a program (ELF)"),
    (b"MZ", "a Windows program"),
    (b"\xca\xfe\xba\xbe", "a program (Mach-O or Java)"),
    *((start, "a program (Mach-O)") for start in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")),
    (b"\0asm", "a WebAssembly program"),
    *((start, "a font") for start in (b"OTTO", b"wOFF", b"wOF2", b"ttcf", b"\0\1\0\0\0")),
    *((bytes((0x80, version)), "a Python pickle") for version in (2, 3, 4, 5)),
    (b"\0\5\x16\7", "an AppleDouble file, macOS's notes on a file of the same name"),
    (b"\0\0\0\1Bud1", "a .DS_Store, macOS's notes on a folder"),
    (b"L\0\0\0\1\x14\2\0", "a Windows shortcut"),
    (b"book\0\0\0\0mark", "a macOS alias"),
)

_RIFF: Mapping[bytes, str] = {
    b"WAVE": "a WAV recording",
    b"WEBP": "a WebP picture",
    b"AVI ": "an AVI video",
    b"RMID": "a MIDI file, notes rather than sound",
    b"ACON": "a Windows cursor",
    b"QLCM": "a QCELP recording",
    b"sfbk": "a SoundFont",
    b"CDXA": "an MPEG video of a Video CD",
}
_FORM: Mapping[bytes, str] = {
    b"AIFF": "an AIFF recording",
    b"AIFC": "an AIFF recording",
    b"8SVX": "an IFF recording",
    b"ILBM": "an IFF picture",
}
_BRANDS: tuple[tuple[tuple[bytes, ...], str], ...] = (  # of ISO base media, most specific first
    ((b"crx ",), "a camera's raw file (CR3)"),
    ((b"avif", b"avis"), "an AVIF picture"),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "a HEIC picture"),
    ((b"mif1", b"msf1", b"heif"), "a HEIF picture"),
    ((b"jxl ",), "a JPEG XL picture"),
    ((b"jp2 ", b"jpx "), "a JPEG 2000 picture"),
    ((b"M4A ", b"M4B ", b"M4P "), "an M4A recording"),
    ((b"qt  ",), "a QuickTime video"),
    ((b"3gp", b"3g2"), "a 3GP video"),
)
_TAGS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", _HTML),
    (b"<html", _HTML),
    (b"<head>", _HTML),
    (b"<body", _HTML),
    (b"<svg", "an SVG drawing"),
    (b"<!doctype svg", "an SVG drawing"),
)
_LINES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.github.com/", _LFS),
    (b"version https://hawser.github.com/", _LFS),
    (b"/annex/objects/", _ANNEX),
    (b"data:", _DATA_URI),
    (b"http/1.", "an HTTP response with its headers"),
    (b"http://", "the text of a URL"),
    (b"https://", "the text of a URL"),
    (b"[internetshortcut]", "a link to a web page"),
    (b"#extm3u", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"webvtt", "subtitles"),
    (b"%pdf-", _PDF),
    (b"%!ps", _POSTSCRIPT),
    (b"{\\rtf", "an RTF document"),
    (b"/* xpm */", "an XPM picture"),
    (b"b'", _REPR),
    (b'b"', _REPR),
)
# Beginnings of binary files that were saved after decoding as text (UTF-8 with replacements, or Latin-1).
_DESTROYED = ("\ufffd", "\x89PNG", "\xff\xd8\xff", "\xff\xfb")
_CONTROLS = re.compile(r"[\0-\x08\x0e-\x1f\x7f]")
_NETPBM = re.compile(rb"P[1-6](\s|#)")
_PATTERNS = (
    (re.compile(rb'[{\[]\s*(["{\[\]}\d-]|true|false|null)'), "a JSON document"),
    (re.compile(rb"[A-Za-z0-9+/_-]{24,}[A-Za-z0-9+/_\r\n-]*={0,2}\Z"), _BASE64),
)


def kind_of_bytes(content: bytes | bytearray | memoryview) -> str:
    """Name the kind of a file by its first bytes, with an article, such as "an HTML page"; "" if unknown.

    The rest of the file isn't examined, and may be damaged.
    """
    head = bytes(content[:_HEAD])
    if not head.strip(b"\0"):
        return _ZEROS if head else ""
    if _NETPBM.match(head):
        return "a Netpbm picture"
    return _text(head) or _binary(head)


def kind_of_string(text: str) -> str:
    """Name the kind of content that was passed as if it were a path, such as "text in base64", or ""."""
    head = text[:_HEAD].lstrip()
    if head[:5].lower() == "data:":
        return _DATA_URI
    if head.startswith(("b'", 'b"')):
        return _REPR
    letters = re.sub(r"\s", "", head).translate(str.maketrans("-_", "+/")).rstrip("=")
    if len(letters) < 64 or not re.fullmatch(r"[A-Za-z0-9+/]+", letters):
        return ""
    return _BASE64 if _binary(base64.b64decode(letters[: len(letters) // 4 * 4])) else ""


def remedy_for(kind: str, otherwise: str) -> str:
    """The remedy for a kind of file that can't be decoded as it is, or `otherwise` if the kind has none."""
    return _REMEDIES.get(kind, otherwise)


def _binary(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return _base_media(head)
    if head[4:8] in (b"moov", b"mdat", b"wide") or (head[4:8] in (b"free", b"skip") and b"mdat" in head):
        return "a QuickTime video"
    if head.startswith((b"RIFF", b"RIFX", b"RF64", b"BW64")):
        return _RIFF.get(head[8:12], f"a RIFF file of the kind {head[8:12].decode('latin-1')!a}")
    if head.startswith(b"FORM"):
        return _FORM.get(head[8:12], "an IFF file")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "a WebM video" if b"webm" in head[:64] else "a Matroska video"
    if head.startswith(b"OggS"):
        return _ogg(head)
    if head.startswith(b"ID3"):
        return "an MP3 recording"
    if head.startswith(b"PK\3\4"):
        return _zip(head)
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # two reserved words
        return "a BMP picture"
    for place, magic, kind in (
        (257, b"ustar", "a tar archive"),
        (128, b"DICM", "a DICOM picture"),
        (8, b'{"', "a file of weights (safetensors)"),
        (40, b" EMF", "a Windows metafile"),
    ):
        if head[place : place + len(magic)] == magic and (place != 8 or head[4:8] == bytes(4)):
            return kind
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return "an MPEG video (transport stream)"
    return next((kind for start, kind in _STARTS if head.startswith(start)), "")


def _base_media(head: bytes) -> str:
    """Name the kind of an ISO base media file by its major and compatible brands."""
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[place : place + 4] for place in range(16, min(size, len(head)), 4))]
    for telling, kind in _BRANDS:
        if any(brand.startswith(telling) for brand in brands):
            return kind
    return "an MP4 file, a video or sound alone"


def _ogg(head: bytes) -> str:
    if b"\x80theora" in head[:128]:
        return "an Ogg video"
    return "an Opus recording" if b"OpusHead" in head[:128] else "an Ogg recording"


def _zip(head: bytes) -> str:
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if name.endswith(b".npy"):
        return "an archive of NumPy arrays"
    if name.endswith((b"/data.pkl", b"/version")):
        return "a file of weights (PyTorch)"
    if name in (b"[Content_Types].xml", b"mimetype", b"_rels/.rels"):
        return "an office document or an e-book"
    return "a zip archive"


def _text(head: bytes) -> str:
    """Name the kind of a file in UTF-8 or UTF-16 by its first words; "" for a binary file."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return ""
    if text.startswith(_DESTROYED):
        return _DECODED
    if _CONTROLS.search(text):
        return ""
    start = text.strip().encode()
    if not start:
        return "nothing but white space"
    lower = start[:1024].lower()
    kind = next((kind for line, kind in _LINES if lower.startswith(line)), "")
    if not kind and lower.startswith(b"<"):
        kind = next((kind for tag, kind in _TAGS if tag in lower), "an XML document")
    return kind or next((kind for pattern, kind in _PATTERNS if pattern.match(start)), _TEXT)
