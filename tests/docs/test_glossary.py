"""The glossary is sorted, and explains each word in one sentence."""

import re

from tests.docs.blocks import DOCS

GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^- \*\*(.+?)\*\*: (.+)$", GLOSSARY, re.MULTILINE)
WORDS = [word for word, _ in ENTRIES]
SENTENCE = re.compile(r"[^.!?]+\.")
NAMES = re.compile(r"`[^`]+`")  # such as `conf.py`, whose dots end no sentence


def test_the_entries_are_unique_and_in_alphabetical_order():
    assert sorted(set(WORDS), key=str.lower) == WORDS


def test_every_line_of_the_list_is_an_entry():
    assert len(ENTRIES) == len(re.findall(r"^- ", GLOSSARY, re.MULTILINE))


def test_every_entry_is_one_sentence():
    for word, text in ENTRIES:
        assert SENTENCE.fullmatch(NAMES.sub("name", text)), word


def test_the_first_page_links_the_glossary():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert "[glossary](glossary.md)" in index
    assert re.search(r"^glossary$", index, re.MULTILINE)


def test_the_delivery_modes_and_the_outcomes_have_entries():
    wanted = {"Service pool", "Singleton", "Broadcast", "Dead letter", "Disposition", "Outbox", "Lane", "Profile"}
    assert wanted <= set(WORDS)
