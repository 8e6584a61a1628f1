"""The page of `fastbp compare --report`: what is on it, that it is sound, and that it loads nothing."""

import copy
import re
from html.parser import HTMLParser

import pytest
from test_compare_report import OLD, made_up

from fastbp.__main__ import BAD_INPUT, main
from fastbp.compare.page import as_page

NEVER_CLOSED = {"meta"}


class Page(HTMLParser):
    """Elements, tables and text of a page whose tags are closed in the order in which they were opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.links, self.tags, self.text, self.identities = [], [], [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        assert not {"src", "srcset", "background", "action", "data"} & set(attributes), attributes
        assert not any(name.startswith("on") for name in attributes), attributes
        self.links += [attributes[name] for name in ("href",) if name in attributes]
        self.identities += [attributes["id"]] if "id" in attributes else []
        if tag not in NEVER_CLOSED:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append(["", attributes.get("data-sort")])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open or "style" in self.open:
            return
        self.text += data
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1][0] += data


RESULTS = {"old": OLD, "made up": made_up([1e-6, 2e-6, 3e-6]), "nothing": made_up([1e-6]) | {"workloads": []},
           "products": made_up([1e-6] * 3, product="W h", size=32)}


@pytest.mark.parametrize("name", RESULTS)
def test_page_is_sound_and_loads_nothing(name):
    text = as_page(RESULTS[name])
    page = Page(text)
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<img|<iframe", text)
    assert page.tags.count("script") == page.tags.count("style") == page.tags.count("h1") == 1
    assert len(set(page.identities)) == len(page.identities)
    assert {link.removeprefix("#") for link in page.links} <= set(page.identities)
    for table in page.tables:
        assert len({len(line) for line in table}) == 1
    assert "$" not in page.text


@pytest.mark.parametrize("name", RESULTS)
def test_every_row_and_contestant_is_on_the_page(name):
    results = RESULTS[name]
    page = Page(as_page(results))
    everyone = page.tables[-1]
    assert [line[0][0] for line in everyone[1:]] == list(results["contestants"])
    for name, about in results["contestants"].items():
        assert about["runs"] or f"{name}: {about['reason']}" in page.text
        for version in about.get("versions", {}).values():
            assert version in page.text
    assert len(page.tables) == 1 + (2 + len(results["workloads"]) if results["workloads"] else 0)
    for row, table in zip(results["workloads"], page.tables[2:-1], strict=False):
        assert row["name"] in page.text
        assert {line[0][0] for line in table[1:]} == {
            name for name, about in results["contestants"].items() if about["runs"]}
        for reason in row["failed"].values():
            assert reason in page.text


def test_contestants_stand_in_the_order_of_their_times_and_say_them():
    page = Page(as_page(made_up([1e-6, 2.5e-6, 3e-6])))
    heads, *lines = page.tables[2]
    assert [head for head, _ in heads[:5]] == ["contestant", "µs", "±", "speed", "time / fastest"]
    assert [[text for text, _ in line[:5]] for line in lines] == [
        ["fast", "2.00", "50%", "100%", "1.00"], ["own", "2.50", "40%", "80%", "1.25"],
        ["slow", "9.00", "0%", "22%", "4.50"], ["late", *["–"] * 4]]
    assert float(lines[0][1][1]) == pytest.approx(2.0)
    assert lines[-1][1][1] == ""
    assert lines[-1][-1][0] == "RuntimeError: no compiler"


def test_a_peer_that_is_faster_is_called_the_fastest():
    results = made_up([3e-6] * 3)
    assert "fast on 1 of 1: w" in Page(as_page(results)).text
    results["contestants"]["fast"]["rounds_to"] = "bfloat16"
    page = Page(as_page(results))
    assert "own on 1 of 1: w" in page.text
    assert "fast on" not in page.text
    assert "Other numbers: products in bfloat16" in page.text


def test_values_are_escaped():
    bad = "<script>alert('\"&amp;')</script>"
    results = copy.deepcopy(made_up([1e-6] * 3))
    results["contestants"] = {bad if name == "own" else name: about for name, about in results["contestants"].items()}
    for about in results["contestants"].values():
        about["versions"] = {bad: bad}
        about |= {"how": bad, "install": bad, "environment": {bad: bad}}
    results["contestants"]["absent"]["reason"] = bad
    row, = results["workloads"]
    for part in ("seconds", "disagreement", "warm_up"):
        row[part] = {bad if name == "own" else name: value for name, value in row[part].items()}
    row["warm_up"][bad]["variant"] = row["failed"]["late"] = row["name"] = row["activation"] = bad
    results |= {"command": bad, "measured": bad, "host": {"processor": bad, "timed": bad}}
    page = Page(as_page(results))
    assert page.tags.count("script") == 1
    assert page.text.count(bad) > 20


def test_command_writes_the_page_and_how_to_repeat_it(tmp_path, monkeypatch, capsys):
    path, saved = tmp_path / "out put.html", tmp_path / "saved.json"
    monkeypatch.setattr("fastbp.commands.compare.compare", lambda *arguments: made_up([1e-6] * 3))
    monkeypatch.setattr("fastbp.commands.compare._host", lambda settings: {"processor": "some"})
    assert main(["compare", "digits", "--report", str(path), "--save", str(saved)]) == 0
    text = path.read_text(encoding="utf-8")
    assert f"fastbp compare digits --report '{path}'" in Page(text).text
    again = tmp_path / "again.html"
    assert main(["compare", "--results", str(saved), "--report", str(again)]) == 0
    assert again.read_text(encoding="utf-8") == text
    assert main(["compare", "digits", "--report", str(tmp_path / "no" / "page.html")]) == BAD_INPUT
    assert "--report: there is no folder" in capsys.readouterr().err
