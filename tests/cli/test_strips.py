from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from mmencode.cli import strips
from mmencode.inputs import Limits


@pytest.fixture
def red(tmp_path):
    """A red image, twice as wide as high."""
    Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "red.png")
    return str(tmp_path / "red.png")


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({}, ""),
        ({"TERM": "xterm-256color"}, ""),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "xterm-kitty", "COLORTERM": "truecolor"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1", "COLORTERM": "24bit"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, ""),
    ],
)
def test_terminal_is_known_by_its_environment(environment, protocol):
    assert strips.detect_protocol(environment) == protocol


def test_images_stand_side_by_side_and_what_is_unreadable_is_blank(red):
    sheet = np.asarray(
        strips.make_sheet([("image", red), ("image", "/absent.png"), ("image", red)], (1, 2), Limits())
    )
    assert sheet.shape == (16, 66, 4)
    assert sheet[0, 0].tolist() == [255, 0, 0, 255]
    assert not sheet[:, 22:44].any()
    assert sheet[9, 44].tolist() == [255, 0, 0, 255]
    assert not sheet[10:].any()


def test_images_beyond_the_limits_are_blank(red):
    assert not np.asarray(strips.make_sheet([("image", red)], (1, 2), Limits(pixels=10))).any()


def test_half_blocks_have_two_pixels_for_each_character(red):
    lines = strips.draw_row([("image", red)], "blocks", Limits()).split("\n")
    assert len(lines) == strips.ROWS
    assert lines[0].count("\x1b[38;2;255;0;0;48;2;255;0;0m▀") == 20
    assert "▀" not in lines[-1]


def _png(content):
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_kitty_gets_a_png_in_pieces(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    pieces = re.findall(
        r"\x1b_G([^;]*);([^\x1b]*)\x1b\\",
        strips.draw_row([("image", str(tmp_path / "noise.png"))], "kitty", Limits()),
    )
    assert pieces[0][0] == "a=T,f=100,q=2,c=22,r=8,m=1"
    assert [keys for keys, _ in pieces[1:]] == ["m=1"] * (len(pieces) - 2) + ["m=0"]
    assert max(len(content) for _, content in pieces) == 4096
    assert _png("".join(content for _, content in pieces)).size == (220, 160)


def test_iterm2_gets_a_png_of_so_many_cells(red):
    found = re.fullmatch(
        r"\x1b]1337;File=inline=1;width=44;height=8;preserveAspectRatio=1:(.*)\a",
        strips.draw_row([("image", red)] * 2, "iterm2", Limits()),
    )
    assert _png(found[1]).size == (440, 160)


def _unsixel(content):
    """The painted pixels as colours, -1 where nothing is painted."""
    width, height, body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+);(\d+)(.*)\x1b\\', content, re.DOTALL).groups()
    body = re.sub(r"#\d+;2;\d+;\d+;\d+", "", body)
    pixels = np.full((int(height) + 6, int(width)), -1)
    for number, band in enumerate(body.split("-")):
        for line in filter(None, band.split("$")):
            colour, runs = re.fullmatch(r"#(\d+)(.*)", line).groups()
            column = 0
            for count, sign in re.findall(r"!(\d+)(.)", runs):
                for bit in range(6):
                    if ord(sign) - 63 >> bit & 1:
                        pixels[6 * number + bit, column : column + int(count)] = int(colour)
                column += int(count)
            assert column == int(width)
    return pixels


def test_sixels_paint_the_image_and_nothing_else(red):
    pixels = _unsixel(strips.draw_row([("image", red)], "sixel", Limits()))
    painted = pixels >= 0
    assert painted[:20, :40].all()
    assert painted.sum() == 20 * 40
    assert len(np.unique(pixels[painted])) == 1


def test_pictures_are_drawn_for_those_who_look_at_a_terminal_that_can(run, folder, terminal, monkeypatch):
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("TMUX", raising=False)
    assert "▀" in run("search", folder, "words").stdout
    assert "▀" not in run("search", folder, "words", "--no-previews").stdout
    monkeypatch.delenv("COLORTERM")
    assert "▀" not in run("search", folder, "words").stdout


def test_pictures_are_not_drawn_when_piped_unless_asked_for(run, run_json, folder, monkeypatch):
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert "\x1b" not in run("search", folder, "words").stdout
    assert "▀" in run("search", folder, "words", "--previews").stdout
    assert run_json("search", folder, "words", "--previews")["matches"]
