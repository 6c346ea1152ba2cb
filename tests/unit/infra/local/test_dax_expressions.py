"""What clients of DAX parsed becomes DynamoDB's text again."""

from typing import Any

import pytest
from amazondax import CborSExprGenerator  # type: ignore[import-untyped]

from sharpwave.infra.local.dax.cbor import Malformed, encode
from sharpwave.infra.local.dax.expressions import Expressions, Overlapping, projection_paths

NAMES = {"#n": "a.b"}
VALUES = {":a": {"N": "1"}, ":b": {"S": "x"}}


def parsed(kind: str, text: str) -> bytes:
    """Let the official client parse an expression, with the names and values it needs."""
    names = {name: each for name, each in NAMES.items() if name in text}
    values = {name: each for name, each in VALUES.items() if name in text}
    order = ("condition", "key", "filter", "update", "projection")
    texts = [text if each == kind else None for each in order]
    found = CborSExprGenerator.encode_expressions(*texts, names, values)
    return bytes(getattr(found, {"key": "KeyCondition"}.get(kind, kind.capitalize())))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = :a", "#n0 = :v0"),
        ("#n <> :a", "#n0 <> :v0"),
        ("x < :a AND y >= :b", "(#n0 < :v0) AND (#n1 >= :v1)"),
        ("NOT (x > :a OR y <= :b)", "NOT ((#n0 > :v0) OR (#n1 <= :v1))"),
        ("x BETWEEN :a AND :b", "#n0 BETWEEN :v0 AND :v1"),
        ("x IN (:a, :b, :a)", "#n0 IN (:v0, :v1, :v0)"),
        ("attribute_exists(x.y[2].z)", "attribute_exists(#n0.#n1[2].#n2)"),
        ("size(x) = :a", "size(#n0) = :v0"),
        ("begins_with(x, :b)", "begins_with(#n0, :v0)"),
    ],
)
def test_conditions(text: str, expected: str) -> None:
    assert Expressions().condition(parsed("condition", text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET x = x + :a, y = y - :a", "SET #n0 = #n0 + :v0, #n1 = #n1 - :v0"),
        ("SET x = if_not_exists(y, :a)", "SET #n0 = if_not_exists(#n1, :v0)"),
        ("SET x = list_append(x, :a)", "SET #n0 = list_append(#n0, :v0)"),
        ("ADD x :a DELETE y :b REMOVE z, w[1]", "ADD #n0 :v0 DELETE #n1 :v1 REMOVE #n2, #n3[1]"),
    ],
)
def test_updates(text: str, expected: str) -> None:
    assert Expressions().update(parsed("update", text)) == expected


def test_expressions_of_one_request_share_names_and_values() -> None:
    expressions = Expressions()

    condition = expressions.condition(parsed("condition", "#n = :a"))
    update = expressions.update(parsed("update", "SET #n = :b"))

    assert (condition, update) == ("#n0 = :v0", "SET #n0 = :v1")
    assert expressions.parameters == {
        "ExpressionAttributeNames": {"#n0": "a.b"},
        "ExpressionAttributeValues": {":v0": {"N": "1"}, ":v1": {"S": "x"}},
    }
    assert Expressions().parameters == {}


def test_projections() -> None:
    paths = projection_paths(parsed("projection", "x, #n, y[1].z"))

    assert paths == [("x",), ("a.b",), ("y", 1, "z")]
    assert Expressions().projection(paths) == "#n0, #n1, #n2[1].#n3"


@pytest.mark.parametrize("text", ["x, x", "x, y, x.z", "x[1], x[1].y"])
def test_paths_that_overlap_are_refused(text: str) -> None:
    with pytest.raises(Overlapping, match="overlap"):
        projection_paths(parsed("projection", text))


@pytest.mark.parametrize(
    "tree", [7, [99, 1], [17], [19, [18, "x"], [17, 0]], [18, None], [0, "x", "y"], []]
)
def test_what_is_no_expression_is_refused(tree: Any) -> None:
    with pytest.raises((Malformed, IndexError)):
        Expressions().condition(encode([1, tree, []]))


def test_another_form_is_refused() -> None:
    with pytest.raises(Malformed, match="form"):
        Expressions().condition(encode([2, [0], []]))
    with pytest.raises(Malformed, match="form"):
        projection_paths(encode([2, []]))
    with pytest.raises(Malformed, match="action"):
        Expressions().update(encode([1, [[18, "x"]], []]))
    with pytest.raises(Malformed, match="path"):
        projection_paths(encode([1, [[17, 0]]]))
