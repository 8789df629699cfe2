"""Ontology files: what they may say, what they mean, and errors that point at the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import OntologyError
from autolabel.ontology import ClassSpec, Ontology, load_ontology, parse_ontology, to_yaml

LONG = """\
defaults:
  threshold: 0.25
  not: [poster, person]
  min_area: 0.001
  duplicate_iou: 0.6
  cross_class_iou: 0.9
classes:
  - person
  - name: vehicle
    prompts: [car, truck]
    not: toy car
    threshold: 0.4
    min_area: 50
    max_area: 5000
    color: '#3377cc'
  - {name: "St. Bernard", prompts: saint bernard dog, color: [1, 2, 3]}
"""


def test_short_form_merges_prompts_of_one_class() -> None:
    found = parse_ontology("car: vehicle\nperson: person\n'semi  truck': vehicle\n")
    assert found.class_names == ("vehicle", "person")
    assert found.prompts == ("car", "semi truck", "person")
    assert found.prompt_classes == (0, 0, 1)
    assert {spec.threshold for spec in found.classes} == {0.3}


def test_classes_may_hold_the_short_form() -> None:
    found = parse_ontology("classes:\n  car: vehicle\n  van: vehicle\ndefaults: {threshold: 0.5}\n")
    assert [(c.name, c.prompts, c.threshold) for c in found.classes] == [
        ("vehicle", ("car", "van"), 0.5)
    ]
    assert parse_ontology("defaults: {threshold: 0.5}\ncar: vehicle\nvan: vehicle\n") == found


def test_long_form_with_defaults() -> None:
    found = parse_ontology(LONG)
    person, vehicle, dog = found.classes
    assert person.prompts == ("person",)
    assert person.negatives == ("poster",)  # its own prompt doesn't speak against it
    assert (person.threshold, person.min_area, person.max_area) == (0.25, 0.001, None)
    assert vehicle.negatives == ("toy car", "poster", "person")
    assert (vehicle.threshold, vehicle.min_area, vehicle.max_area) == (0.4, 50, 5000)
    assert (vehicle.color, dog.color) == ((0x33, 0x77, 0xCC), (1, 2, 3))
    assert (dog.name, dog.prompts) == ("St. Bernard", ("saint bernard dog",))
    assert (found.duplicate_iou, found.cross_class_iou) == (0.6, 0.9)
    assert found.prompts == ("person", "car", "truck", "saint bernard dog", "poster", "toy car")
    assert found.prompt_classes == (0, 1, 1, 2, None, None)
    assert found.negative_ids == ((4,), (5, 4, 0), (4, 0))


def test_yes_no_on_and_off_are_words() -> None:
    assert parse_ontology("no: yes\noff: 'on'\n").class_names == ("yes", "on")


def test_names_may_be_in_any_language() -> None:
    found = parse_ontology("'\u732b': \u30cd\u30b3 1\nchien: 'grand chien: noir'\n")
    assert found.class_names == ("\u30cd\u30b3 1", "grand chien: noir")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "found nothing; allowed: lines of `prompt: class`"),
        ("# only a comment\n", None, "found nothing"),
        ("- car\n- truck\n", 1, "found a list at the top"),
        ("car\n", 1, "found 'car' at the top"),
        ("classes: []\n", 1, "found no classes"),
        ("classes:\n", 1, "classes: found nothing"),
        ("defaults: {threshold: 0.5}\n", 1, "found no classes"),
        ("car: vehicle\ncar: auto\n", 2, "the key 'car' appears twice"),
        ("car: vehicle\n7: seven\n", 2, "found the number 7, expected text; put it in quotes: '7'"),
        ("car: 7\n", 1, "put it in quotes: '7'"),
        ("car: true\n", 1, "found the truth value true, expected text; put it in quotes"),
        ("car: vehicle\nvan:\n", 2, "'van': found no class name, expected `van: class`"),
        ("car: ''\n", 1, "class name: found an empty text"),
        ("' ': car\n", 1, "prompt: found an empty text"),
        ("a.b: car\n", 1, "found '.' in 'a.b'; Grounding DINO separates prompts with it"),
        ("car: a\nCar: b\n", 2, "the prompt 'Car' means both 'a' and 'b'; allowed: one class"),
        ('car: "a\\nb"\n', 1, "expected one line of text"),
        ('car: "a\\ud800"\n', 1, "half a character"),
        ("clases:\n  - car\n", 1, "did you mean 'classes'? allowed: classes, defaults"),
        ("classes: [car]\ndefault: {}\n", 2, "unknown key 'default'; did you mean 'defaults'?"),
        ("defaults:\n  treshold: 1\nclasses: [a]\n", 2, "did you mean 'threshold'?"),
        ("classes:\n- name: a\n  promts: b\n", 3, "unknown key 'promts'; did you mean 'prompts'?"),
        ("classes:\n- car: vehicle\n", 2, "`- {name: vehicle, prompts: [car]}`"),
        ("classes:\n- prompts: [a]\n  threshold: 0.5\n", 2, "found no `name`"),
        ("classes: [a, [b]]\n", 1, "class: found a list, expected text"),
        ("classes: [a, a]\n", 1, "the class 'a' appears twice"),
        ("classes:\n- car\n- name: Car\n  prompts: [x]\n", 3, "(first written 'car')"),
        ("classes:\n- car\n- name: b\n  prompts:\n  - x\n  - car\n", 6, "means both 'car' and 'b'"),
        ("classes:\n- name: a\n  prompts: []\n", 3, "found an empty list"),
        ("classes:\n- name: a\n  not:\n    - A\n", 4, "'A' is both its prompt and its `not`"),
        ("classes:\n- name: a\n  threshold: 1.5\n", 3, "threshold: found 1.5, allowed: 0 to 1"),
        ("classes:\n- name: a\n  threshold: .nan\n", 3, "threshold: found .nan"),
        ("classes:\n- name: a\n  threshold: '0.5'\n", 3, "found '0.5', expected a number"),
        ("classes:\n- name: a\n  min_area: -1\n", 3, "min_area: found -1, allowed: up to 1"),
        ("classes:\n- name: a\n  weight: 0\n", 3, "weight: found 0, allowed: 0.01 to 100"),
        ("classes:\n- {name: a, min_area: 9, max_area: 8}\n", 2, "max_area: found 8, less than"),
        ("defaults: {duplicate_iou: 0}\nclasses: [a]\n", 1, "duplicate_iou: found 0, allowed: abo"),
        ("classes:\n- name: a\n  color: #ff0000\n", 3, "put the colour in quotes"),
        ("classes:\n- name: a\n  color: red\n", 3, "found 'red', allowed: '#rrggbb' in quotes"),
        ("classes:\n- name: a\n  color: [1, 2, 256]\n", 3, "[r, g, b], 0-255"),
        ("classes:\n- name: a\n  color: [1, 2, 1e999]\n", 3, "[r, g, b], 0-255"),
        ("car: vehicle\n\tvan: vehicle\n", 2, "use spaces"),
        ("car: a: b\n", 1, "needs quotes"),
        ("car: 'vehicle\n", 2, "not valid YAML: found unexpected end of stream"),
        ("a: b\n---\nc: d\n", 2, "found a second document"),
        ("a: &x b\nc: *x\n", 1, "anchors and aliases are not allowed"),
        ("a: *x\n", 1, "anchors and aliases are not allowed"),
        ("a: b\nc: !!python/object:os.system x\n", 2, "tags are not allowed"),
        ("a: b\nc: d\x07\n", 2, "found the control character '\\x07'"),
        ('a: "\\UFFFFFFFF"\n', None, "not valid YAML"),
        ("[" * 100_000, 1, "nested deeper than 8 levels"),
        ("- " * 5_000, 1, "nested deeper than 8 levels"),
        ("a" * 1_000_001, None, "allowed are 1,000,000"),
    ],
)
def test_errors_say_file_line_found_and_allowed(text: str, line: int | None, message: str) -> None:
    with pytest.raises(OntologyError) as raised:
        parse_ontology(text, "my.yaml")
    assert message in str(raised.value)
    assert raised.value.line == line
    assert str(raised.value).startswith(f"my.yaml:{line}: " if line else "my.yaml: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OntologyError, match=r"none\.yaml: can't be read: No such file"):
        load_ontology(tmp_path / "none.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"car: vehicle\ngeh\xf6lz: wald\n")
    with pytest.raises(OntologyError, match=r"latin\.yaml:2: found the byte 0xf6, .* not UTF-8"):
        load_ontology(latin)
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * 2_000_000)
    with pytest.raises(OntologyError, match="allowed are 1,000,000"):
        load_ontology(big)


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_bytes(b"\xef\xbb\xbfcar: vehicle\r\nvan: vehicle\r\n")
    assert load_ontology(file).prompts == ("car", "van")


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab:- \n[]{}'\"#&*!|>%@?,.~0\t\\x\ufeff\u2028"), max_size=40))
def test_any_text_is_an_ontology_or_an_error(text: str) -> None:
    try:
        found = parse_ontology(text)
    except OntologyError:
        return
    assert parse_ontology(to_yaml(found)) == found


# --- made in Python ----------------------------------------------------------------------------


def test_from_python() -> None:
    found = Ontology.from_prompts({"car": "vehicle", "van": "vehicle", "cat": "cat"}, 0.4)
    assert found == parse_ontology(
        "defaults: {threshold: 0.4}\ncar: vehicle\nvan: vehicle\ncat: cat\n"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ()}, "class 'a': found no prompts"),
        ({"prompts": "car"}, "tuples of texts"),
        ({"prompts": (7,)}, "prompt: found 7, expected text"),
        ({"threshold": -0.1}, "threshold: found -0.1, allowed: 0 to 1"),
        ({"color": (1, 2, 300)}, "color: found"),
        ({"name": ""}, "class name: found an empty text"),
    ],
)
def test_python_values_are_checked_too(changes: dict, message: str) -> None:
    with pytest.raises(OntologyError, match=message):
        ClassSpec(**{"name": "a", "prompts": ("a",), **changes})


def test_contradictions_in_python() -> None:
    with pytest.raises(OntologyError, match="found no classes"):
        Ontology(())
    with pytest.raises(OntologyError, match="means both 'a' and 'b'"):
        Ontology((ClassSpec("a", ("x",)), ClassSpec("b", ("X",))))


# --- fingerprints --------------------------------------------------------------------------------


def test_fingerprints_change_with_what_they_stand_for() -> None:
    base = parse_ontology(LONG)

    def changed(old: str, new: str) -> tuple[bool, bool, bool]:
        assert old in LONG
        other = parse_ontology(LONG.replace(old, new))
        return (
            other.prompt_fingerprint() != base.prompt_fingerprint(),
            other.segment_fingerprint() != base.segment_fingerprint(),
            other.selection_fingerprint() != base.selection_fingerprint(),
        )

    assert changed("threshold: 0.4", "threshold: 0.5") == (False, False, True)
    assert changed("max_area: 5000", "max_area: 6000") == (False, False, True)
    assert changed("cross_class_iou: 0.9", "cross_class_iou: 0.8") == (False, False, True)
    assert changed("duplicate_iou: 0.6", "duplicate_iou: 0.7") == (False, True, True)
    assert changed("#3377cc", "#000000") == (False, False, False)
    assert changed("name: vehicle", "name: Fahrzeug") == (False, False, True)
    assert changed("[car, truck]", "[truck, car]") == (False, False, True)
    assert changed("[car, truck]", "[car, lorry]") == (True, True, True)
    assert changed("not: toy car", "not: model car") == (True, False, True)


def test_a_prompt_that_moves_to_another_class_needs_masks_not_the_grounder() -> None:
    one, two = parse_ontology("a: x\nb: x\nc: y\n"), parse_ontology("a: x\nb: y\nc: y\n")
    assert one.prompt_fingerprint() == two.prompt_fingerprint()
    assert one.segment_fingerprint() != two.segment_fingerprint()


# --- colours -------------------------------------------------------------------------------------


def test_colors_are_stable_and_apart() -> None:
    names = ["person", "car", "truck", "dog", "cat", "bottle", "cup", "chair", "tree", "bus"]
    forward = parse_ontology(f"classes: [{', '.join(names)}]")
    backward = parse_ontology(f"classes: [{', '.join(reversed(names))}]")
    colors = {spec.name: spec.color for spec in forward.classes}
    assert colors == {spec.name: spec.color for spec in backward.classes}
    assert len(set(colors.values())) == 10
    assert ClassSpec("person", ("person",)).color == (255, 122, 156)
    nearest = min(
        sum(abs(x - y) for x, y in zip(colors[a], colors[b], strict=True))
        for a in names
        for b in names
        if a < b
    )
    assert nearest > 60


def test_a_thousand_classes_get_colors() -> None:
    found = Ontology.from_prompts({f"thing {i}": f"thing {i}" for i in range(1000)})
    assert len({spec.color for spec in found.classes}) == 72


# --- back to text --------------------------------------------------------------------------------

prompt_texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=".?"),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip())
areas = st.none() | st.floats(0, 1e9)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(prompt_texts, min_size=1, max_size=4, unique_by=lambda t: t.strip().casefold()),
    prompt_texts,
    st.floats(0, 1),
    areas,
    st.floats(0.01, 1),
    st.floats(0.01, 100),
)
def test_yaml_reads_back_equal(
    names: list[str], negative: str, threshold: float, area: float | None, iou: float, weight: float
) -> None:
    try:
        classes = tuple(
            ClassSpec(n, (n,), (negative,), threshold, area, weight=weight) for n in names
        )
        ontology = Ontology(classes, iou, iou)
    except OntologyError:  # the negative is one of the prompts, or two normalise to the same
        return
    again = parse_ontology(to_yaml(ontology))
    assert again == ontology
    assert again.prompts == ontology.prompts
    assert again.selection_fingerprint() == ontology.selection_fingerprint()


def test_yaml_quotes_what_would_read_as_something_else() -> None:
    names = ["7", "true", "null", "~", "1e3", "a: b", "- x", "#x", "'", '"', "\\", "no", "x y"]
    ontology = Ontology(tuple(ClassSpec(n, (f"p{i}",)) for i, n in enumerate(names)))
    assert parse_ontology(to_yaml(ontology)).class_names == tuple(names)
