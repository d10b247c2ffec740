"""Terms linked to the glossary, symbols and public names with their chapters."""

import ast
import importlib
from pathlib import Path

import api
import pytest
import symbols
import vil_finding
from docutils import nodes
from docutils.utils import new_document
from nb import chapter_number

ROOT = Path(__file__).resolve().parents[2]

TERMS = vil_finding.glossary_terms(ROOT)
ENTRIES = api.entries()


def page(*paragraphs):
    document = new_document("a page")
    for text in paragraphs:
        document += text if isinstance(text, nodes.Node) else nodes.paragraph("", text)
    return document


def links(document):
    return [(link["reftarget"], link.astext()) for link in document.findall(vil_finding.addnodes.pending_xref)]


# ---------------------------------------------------------------- terms


def test_the_glossary_is_read():
    assert {"gate", "stabiliser", "mLSTM", "detection head", "mAP50-95"} <= set(TERMS)
    assert all(term.strip() == term for term in TERMS)


def test_the_first_place_of_a_term_is_a_link_and_only_the_first():
    one = page("A gate opens. Two gates.", "Gates again, and pre-activations.")
    assert vil_finding.link_terms(one, TERMS) == ["gate", "pre-activation"]
    assert links(one) == [("gate", "gate"), ("pre-activation", "pre-activations")]
    assert one.astext() == "A gate opens. Two gates.\n\nGates again, and pre-activations."


def test_headings_code_and_links_stay_as_they_are():
    heading = nodes.section("", nodes.title("", "The gate"), nodes.paragraph("", "", nodes.literal("", "gate")))
    one = page(heading, nodes.literal_block("", "gate = 1"), nodes.paragraph("", "", nodes.reference("", "gate")))
    assert vil_finding.link_terms(one, TERMS) == []


@pytest.mark.parametrize(
    "text, found",
    [
        ("A value is stored under its key, and a query asks.", {"query", "key", "value"}),
        ("The pixel has the value 3.", set()),
        ("You keep two numbers in your head.", set()),
        ("One matrix for each head.", {"head"}),
        ("A head for 1000 classes.", set()),
        ("We skip the proof.", set()),
        ("A convolution with a skip.", {"skip"}),
        ("An investigate, a delegate.", set()),
        ("A c2f is not a name.", set()),
        ("Queries meet keys.", {"query", "key"}),
    ],
)
def test_the_sense_of_a_word_is_told_by_the_words_around_it(text, found):
    assert set(vil_finding.link_terms(page(text), TERMS)) == found


def test_the_head_of_a_detector_is_another_one():
    text = "The backbone, the neck, the head."
    assert ("detection head", "head") in links_of(text, "book/part3_detection/13_yolov8_anatomy")
    assert "detection head" not in dict(links_of(text, "book/part2_vision/10_model"))


def links_of(text, docname):
    document = page(text)
    vil_finding.link_terms(document, TERMS, docname)
    return links(document)


# ---------------------------------------------------------------- public names


def test_every_public_function_and_method_is_typed():
    typed, untyped = [], []
    for one in ENTRIES:
        tree = ast.parse(api.file_of(one.source).read_text(encoding="utf-8"))
        node = next((node for node in tree.body if getattr(node, "name", None) == one.name), None)  # else a constant
        methods = node.body if isinstance(node, ast.ClassDef) else [node]
        for f in (f for f in methods if isinstance(f, ast.FunctionDef) and (f.name[0] != "_" or f.name == "__init__")):
            arguments = [a for a in f.args.args + f.args.kwonlyargs if a.arg not in ("self", "cls")]
            whole = all(a.annotation for a in arguments) and (f.returns or f.name == "__init__")
            (typed if whole else untyped).append(f"{one.module}.{one.name}: {f.name}")
    assert len(typed) > 100 and not untyped, untyped


@pytest.mark.parametrize("package", api.PACKAGES)
def test_the_page_lists_exactly_the_public_names_of_each_package(package):
    shown = [one.name for one in ENTRIES if one.module == package]
    assert sorted(shown) == sorted(importlib.import_module(package).__all__)


def test_every_name_can_be_imported_from_where_the_page_says():
    for one in ENTRIES:
        assert hasattr(importlib.import_module(one.module), one.name), f"{one.module}.{one.name}"
        assert not one.name.startswith("_") and one.name != "main"
    assert len({(one.module, one.name) for one in ENTRIES}) == len(ENTRIES)


def test_every_name_says_what_it_is_and_has_a_chapter():
    chapters = api.known_chapters()
    for one in ENTRIES:
        assert one.doc, f"{one.module}.{one.name} has no docstring"
        numbers = api.built_in(one)[1]
        assert numbers and set(numbers) <= set(chapters), f"{one.module}.{one.name}: {numbers}"


def test_the_chapter_of_a_name_is_one_that_its_module_names():
    sources = {one.name: one.source for one in ENTRIES}
    for name, chapter in api.BUILT.items():
        assert chapter in api.named(sources[name]), name


def test_a_docstring_is_cut_where_an_argument_begins_and_nowhere_else():
    block = "size: of a side; one that\n    fits a grid: any.   depth: blocks.\nRaises ValueError otherwise."
    wanted = ["size: of a side; one that fits a grid: any.", "depth: blocks.", "Raises ValueError otherwise."]
    assert vil_finding.parts(block) == wanted


# ---------------------------------------------------------------- symbols


def test_every_symbol_of_the_table_comes_in_in_a_chapter():
    table = symbols.rows(ROOT)
    assert len(table) > 30
    for row in table:
        assert symbols.where(row), f"no chapter uses {row.symbols or row.names}: {row.meaning}"


@pytest.mark.parametrize(
    "symbol, chapter",
    [
        ("S", 1),
        (r"\sigma", 1),
        ("C_t", 3),
        ("F_t", 4),
        (r"\mu_t", 5),
        ("A_t", "5b"),
        ("p", "5b"),
        ("B", 6),
        ("P", 6),
        ("E", 7),
    ],
)
def test_a_symbol_comes_in_where_it_first_has_its_meaning(symbol, chapter):
    (row,) = (row for row in symbols.rows(ROOT) if symbol in row.symbols)
    assert chapter_number(symbols.where(row)) == chapter


#: In a rule for any numbers, as the page says.
ANY = {4: "a", 8: "a", 10: "ab"}


@pytest.mark.parametrize("path", symbols.chapters(), ids=lambda path: path.stem)
def test_a_chapter_uses_no_letter_that_is_not_declared(path):
    undeclared = (
        symbols.letters(symbols.formulas(path)) - symbols.declared(path) - set(ANY.get(chapter_number(path), ""))
    )
    assert not undeclared, f"say in book/appendix/notation.md what {sorted(undeclared)} means in {path.name}"


def test_the_second_table_lists_only_what_its_chapter_uses():
    paths = {path.stem: path for path in symbols.chapters()}
    for name, found in symbols.of_one_chapter().items():
        unused = found - symbols.letters(symbols.formulas(paths[name]))
        assert found and not unused, f"{name} does not use {sorted(unused)}"


def test_letters_of_a_formula_are_its_letters_alone():
    assert symbols.letters(r"\mathrm{norm}(x)\,W_{\text{up}} \le \Delta_j") == {"x", "W", r"\Delta", "j"}


def test_a_letter_is_found_alone():
    assert symbols.occurs("d", r"S \times d") and symbols.occurs("C_t", "C_t^2")
    assert not symbols.occurs("d", r"\odot x") and not symbols.occurs("C_t", "C_tx")
