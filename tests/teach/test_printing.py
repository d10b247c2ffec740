"""What a notebook says fits the page."""

import re

from vil_lite import teach


def test_what_fits_is_printed_as_it_is(capsys):
    teach.say("two", {"a": 1}, ValueError("is  short"))
    teach.say("a table:\n\n    1  2\n" + 80 * "-")
    assert capsys.readouterr().out == "two {'a': 1} is  short\na table:\n\n    1  2\n" + 80 * "-" + "\n"


def test_what_is_wider_goes_on_below_and_loses_no_word(capsys):
    error = ValueError("a token between the patches, where the 3 x 3 convolution reads, costs mAP50-95; " * 3)
    teach.say("the library says:", error)
    said = capsys.readouterr().out
    first, *others = said.splitlines()
    assert first.startswith("the library says: a token") and 70 < len(first) <= 80 and len(others) == 3
    assert all(re.match(r"    \S", line) and len(line) <= 80 for line in others)
    assert said.split() == f"the library says: {error}".split()


def test_each_line_goes_on_under_itself_and_a_path_without_spaces_is_cut(capsys):
    teach.say("block(\n    (igate): " + "x" * 30 + " " + "y" * 40 + "\n)")
    assert capsys.readouterr().out == f"block(\n    (igate): {'x' * 30}\n        {'y' * 40}\n)\n"
    teach.say("no file /" + "folder/" * 20)
    said = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in said) and "".join(map(str.strip, said)).endswith("folder/" * 10)
