"""What an agent's confidences are worth follows from its own decisions, each counted once."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from sharpwave.infra.operate.calibration import judged
from sharpwave.schemas import keys, tables
from tests.simulation.checking.counting import Story, tellings
from tests.simulation.scene import Scene

_NEARLY = 1e-9


def confidences(scene: Scene) -> Iterator[str]:
    """Judge the confidences of each agent and type by hand, and compare what operators see."""
    totals = [
        item
        for key, item in scene.tables.items(tables.PIPELINE).items()
        if key.sk == keys.ledger_total("").sk
    ]
    told = [_by_writer(each) for each in tellings(scene.book.decisions.values())]
    for agent in sorted({agent for each in told for agent, _ in each}):
        shown = {each.decision_type: each for each in judged(totals, agent)}
        for kind in sorted({kind for each in told for name, kind in each if name == agent}):
            wanted = [_judged(each.get((agent, kind), [])) for each in told]
            found = _shown(shown.get(kind))
            if not any(_agree(found, each) for each in wanted):
                yield f"the confidences of {agent} in {kind} are judged {found}, not {wanted[0]}"


def _by_writer(told: Iterable[Story]) -> dict[tuple[str, str], list[tuple[float, bool]]]:
    """Give what was stated and what came of it, by agent and type; nothing of what is open."""
    by_writer: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for item, state in told:
        stated = by_writer.setdefault((item["agent_id"], item["decision_type"]), [])
        said = [item.get("reasoning", {}).get("confidence"), item.get("confidence")]
        sound = [each for each in said if type(each) in (int, Decimal) and 0 <= each <= 1]
        if sound and state.success is not None:
            stated.append((float(round(Decimal(sound[0]), 4)), state.success))
    return by_writer


def _judged(stated: list[tuple[float, bool]]) -> list[float]:
    """Give number, Brier score and calibration error, by their definitions."""
    if not stated:
        return [0.0]
    tenths: dict[int, list[tuple[float, bool]]] = {}
    for said, success in stated:
        tenths.setdefault(min(round(said * 10_000) // 1_000, 9), []).append((said, success))
    gaps = [
        abs(sum(success for _, success in each) - sum(said for said, _ in each))
        for each in tenths.values()
    ]
    brier = sum((said - success) ** 2 for said, success in stated) / len(stated)
    return [float(len(stated)), brier, sum(gaps) / len(stated)]


def _shown(found: Any) -> list[float]:
    if found is None or found.calibration is None:
        return [0.0]
    return [float(found.calibration.n), found.calibration.brier, found.calibration.ece]


def _agree(found: list[float], wanted: list[float]) -> bool:
    return len(found) == len(wanted) and all(
        abs(one - other) < _NEARLY for one, other in zip(found, wanted, strict=True)
    )
