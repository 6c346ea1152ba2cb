"""Ending a candidate that got nowhere, so that nobody pays for counting it any longer.

Its version ends as one does that another follows: at a moment beyond everything judged by then,
and its transaction says so. Its counts stay, and its row says that it is retired.
"""

from pydantic import ValidationError

from sharpwave.schemas import keys
from sharpwave.schemas.keys import Key
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.tables import MEMORY, PIPELINE
from sharpwave.schemas.times import Clock
from sharpwave.workers.work.ports import (
    Check,
    Insert,
    Location,
    Reads,
    Transactions,
    TryAgain,
    Update,
)

#: Origins of versions that the search for patterns made.
FOUND = frozenset({"discovery", "split"})
_ATTEMPTS = 4


class Ending:
    """Retires candidates that workers made."""

    def __init__(
        self, *, reads: Reads, transactions: Transactions, clock: Clock, lead_s: float
    ) -> None:
        """Let versions end `lead_s` seconds after it is written, or later."""
        self._reads, self._transactions = reads, transactions
        self._clock, self._lead_s = clock, lead_s

    def retire(self, agent_id: str, pattern_id: str) -> bool:
        """Retire an agent's pattern if it is a candidate that the search made; safe to repeat.

        Returns:
            Whether this call did it.

        Raises:
            TryAgain: others wrote to the pattern at the same moment, again and again.
        """
        current = Location(MEMORY, Key(keys.pattern_pk(agent_id), pattern_id))
        judged = Location(PIPELINE, keys.judged())
        for _ in range(_ATTEMPTS):
            row = self._reads.get([current]).get(current)
            if row is None or row.get("state", "candidate") not in ("candidate", "dormant"):
                return False
            subject = keys.pattern_subject(agent_id, pattern_id, int(row["version"]))
            listed = Location(PIPELINE, keys.known_pattern(subject))
            found = self._reads.get([listed, judged])
            try:
                version = PatternVersion.of_entry(found[listed], strict=True)
            except (KeyError, ValidationError):
                return False  # gone, or a newer release's affair
            if version.origin not in FOUND or version.effective_to is not None:
                return False
            now = self._clock()
            until = int(found[judged]["until"]) if judged in found else -1
            end = max(-int(-(now + self._lead_s) // 1), until + 1, version.effective_from + 1)
            ended = version.model_copy(update={"effective_to": end})
            own = keys.pattern_version_sk(pattern_id, version.version)
            seq, was = int(row.get("state_seq", 0)) + 1, row.get("state", "candidate")
            values = {
                "state": "retired",
                "state_since": int(now),
                "state_seq": seq,
                "state_was": was,
                "figures_rev": int(row.get("figures_rev", 0)) + 1,
            }
            history = {
                **keys.life(subject, seq).item(),
                "pattern": version.name,
                "owner": version.owner,
                "at": int(now),
                "from": was,
                "to": "retired",
                "reason": "it got nowhere, and its place goes to another candidate",
                "figures": {},
            }
            # Who promotes it at this moment has raised the revision of its figures.
            seen = {name: row[name] for name in row if name in ("version", "figures_rev")}
            unseen = () if "figures_rev" in row else ("figures_rev",)
            done = self._transactions.transact(
                [
                    Check(judged, below={"until": end}),
                    Insert(PIPELINE, history),
                    Update(
                        listed,
                        {"version": ended.entry()["version"]},
                        equals={"version": found[listed]["version"]},
                    ),
                    Update(Location(MEMORY, Key(current.key.pk, own)), {"effective_to": end}),
                    Update(current, values, equals=seen, missing=unseen),
                ]
            )
            if done:
                return True
        raise TryAgain(f"pattern {pattern_id} is written by others, again and again")
