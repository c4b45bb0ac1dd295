"""The manual says what the code does: generated pages are fresh, links lead somewhere, examples are real."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from docs.generate import DOCS, GENERATED, pages, rows
from docs.plugins import built_in
from xmppd.cli import app
from xmppd.config import parse_config

ROOT = DOCS.parent
PAGES = sorted(DOCS.rglob("*.md"))
LINKING = [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"]
WRITTEN_BY_HAND = [page for page in PAGES if page.relative_to(DOCS).as_posix() not in GENERATED]

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^>]*?) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]*`")
MACHINE_PATHS = re.compile(r"/(?:work|root|tmp|Users)/|/home/(?!you/)")
REAL_CODE = frozenset(("python", "toml"))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, mark (the comment before it) and text of each code block."""
    for found in BLOCK.finditer(page.read_text("utf-8")):
        yield found["kind"], found["mark"] or "", found["text"]


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return text.strip().replace(" ", "-")


# ---- generated


@pytest.mark.parametrize("page", GENERATED)
def test_generated_pages_are_fresh(page: str) -> None:
    assert (DOCS / page).read_text("utf-8") == pages()[page], f"docs/{page} is old: run `make docs`"


def test_every_xep_of_a_plugin_is_listed() -> None:
    listed = (DOCS / "reference/xeps.md").read_text("utf-8")
    for plugin in built_in():
        for xep in plugin.cls.xeps:
            assert f"xep-{xep.number:04}.html" in listed
    assert len(rows()) == len(set((xep.number, where) for xep, where in rows())), "a plugin names a XEP twice"


def covering(plugin: str) -> list[Path]:
    tests = ROOT / "tests"
    found = [*tests.glob(f"plugins/test_{plugin}*.py"), *tests.glob(f"plugins/{plugin}/test_*.py")]
    numbers = {f"xep-{xep.number:04}" for each in built_in() if each.name == plugin for xep in each.cls.xeps}
    return found + [talk for talk in tests.glob("talks/*.talk") if talk.name[:8] in numbers]


@pytest.mark.parametrize("plugin", [found.name for found in built_in()])
def test_every_plugin_is_tested(plugin: str) -> None:
    assert covering(plugin), f"neither tests/plugins/test_{plugin}.py nor a talk"


# ---- written by hand


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = INLINE.sub("", BLOCK.sub("", page.read_text("utf-8")))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: there is no {link}"
        if anchor and target.suffix == ".md":
            anchors = map(slug, HEADING.findall(target.read_text("utf-8")))
            assert anchor in anchors, f"{name(page)}: there is no heading {link}"


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_no_page_names_paths_of_a_machine(page: Path) -> None:
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        assert not MACHINE_PATHS.search(line), f"{name(page)}:{number}: {line}"


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=name)
def test_code_is_that_of_the_files(page: Path) -> None:
    """Python and TOML are whole files that are tested, so what is pasted works: `<!-- file: tests/… -->` before the
    block names them."""
    for kind, mark, text in blocks(page):
        if kind not in REAL_CODE:
            continue
        assert mark.startswith("file: "), f"{name(page)}: which file is this from?\n{text}"
        source = (ROOT / mark.removeprefix("file: ")).read_text("utf-8")
        assert text == source, f"{name(page)}: this is not {mark.removeprefix('file: ')}\n{text}"


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=name)
def test_configurations_are_valid(page: Path) -> None:
    """A YAML block that names hosts is a whole configuration; other ones say `<!-- part -->`."""
    for kind, mark, text in blocks(page):
        if kind != "yaml" or mark == "part":
            continue
        parse_config(text, name(page))


@pytest.mark.parametrize("page", [*WRITTEN_BY_HAND, ROOT / "README.md"], ids=name)
def test_commands_exist(page: Path) -> None:
    commands = [line.strip() for _, _, text in blocks(page) for line in text.splitlines()]
    commands += re.findall(r"`((?:\.venv/bin/)?xmppd [^`]*)`", page.read_text("utf-8"))
    commands += [line.strip() for line in page.read_text("utf-8").splitlines() if line.startswith("    .venv")]
    for line in commands:
        words = shlex.split(line, comments=True) if "xmppd " in line else []
        words = words[1:] if words[:1] == ["sudo"] else words
        if not words or words[0].removeprefix(".venv/bin/") != "xmppd":
            continue
        command: Any = typer.main.get_command(app)
        for word in words[1:]:
            if hasattr(command, "commands"):
                assert word in command.commands, f"{name(page)}: there is no `{line}`"
                command = command.commands[word]
            elif word.startswith("-"):
                known = [option for each in command.params for option in each.opts]
                assert word.split("=")[0] in known, f"{name(page)}: {word} is no option of `{line}`"


@pytest.mark.parametrize("page", sorted(DOCS.glob("adr/[0-9]*.md")), ids=name)
def test_a_decision_has_its_parts(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.match(rf"# {page.name[:4]}: .+\n", text), f"{name(page)} begins with its number"
    assert [part for part in HEADING.findall(text)[1:]][:3] == ["Context", "Decision", "Consequences"]
    assert f"({page.name})" in (DOCS / "adr/README.md").read_text("utf-8"), "docs/adr/README.md lists it"


# ---- paths of modules

MODULES = re.compile(r"^(?:xmppd|plugins)/[\w./*-]+$")


def modules_named(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and path of each module or folder that a page names. In a row of a table or a sentence a name without
    a folder (`manager.py`) is in the folder of the path before it."""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        folder = ""
        for word in (found[1:-1] for found in INLINE.findall(line)):
            if MODULES.match(word):
                folder = word if word.endswith("/") else f"{word.rpartition('/')[0]}/"
                yield number, word
            elif folder and re.fullmatch(r"[\w*]+\.py", word):
                yield number, folder + word


@pytest.mark.parametrize("page", sorted((DOCS / "explanation").glob("*.md")), ids=name)
def test_modules_that_are_named_exist(page: Path) -> None:
    missing = [f"{number}: {path}" for number, path in modules_named(page) if not any(ROOT.glob(path))]
    assert not missing, f"{name(page)} names what is not there: {missing}"


def test_every_folder_of_the_core_is_explained() -> None:
    text = (DOCS / "explanation/architecture.md").read_text("utf-8")
    folders = [each.parent.name for each in (ROOT / "xmppd").glob("*/__init__.py")]
    assert [each for each in sorted(folders) if f"\n| `{each}` |" not in text] == []
