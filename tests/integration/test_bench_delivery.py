"""The benchmark of delivery delivers: a figure of signals that were lost would be none."""

from tests.bench import delivery


def test_every_form_delivers_each_signal_once() -> None:
    rows = list(delivery.measure(40, 1, lambda _: None))

    assert [row.case for row in rows] == [
        "in memory, 1 target",
        "HTTP, 1 target",
        "in memory, 2 targets",
        "HTTP, 2 targets",
    ]
    assert [(row.lost, row.doubled) for row in rows] == [(0, 0)] * 4
