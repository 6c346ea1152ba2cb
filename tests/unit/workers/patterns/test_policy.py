"""Rules come from a file, and nonsense is refused by name."""

from pathlib import Path

import pytest

from sharpwave.workers.patterns.policy import BadPolicy, Policy


def test_what_a_file_leaves_out_is_as_it_was(tmp_path: Path) -> None:
    for name, text in (("p.json", '{"alpha": 0.05}'), ("p.yaml", "alpha: 0.05\n")):
        (tmp_path / name).write_text(text)
        assert Policy.read(tmp_path / name) == Policy(alpha=0.05)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"alpha": 1}', "alpha"),
        ('{"alfa": 0.1}', "alfa"),
        ('{"min_units": 0}', "min_units"),
        ('{"max_unresolved": "many"}', "max_unresolved"),
        ('{"degraded_at": 600}', "degraded_at 600"),
        ('{"share_with": ["A B"]}', "share_with"),
        ('{"alpha": NaN}', "alpha"),
        ("[]", "is no map"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_nonsense_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(BadPolicy, match=said) as refused:
        Policy.read(tmp_path / "p.json")
    assert "p.json" in str(refused.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPolicy, match=r"gone\.json"):
        Policy.read(tmp_path / "gone.json")
