"""One example of each thing that agents write or receive, published with its JSON Schema.

Together they tell one story: the market-hunter decides, signals, and remembers; the risk-manager
is registered for such signals, receives this one and acknowledges it.
"""

from collections.abc import Mapping
from typing import Any

from sharpwave.schemas import keys, messages, tables

Document = Mapping[str, Any]

_HUNTER, _MANAGER = "market-hunter", "risk-manager"
_ISO, _MOMENT = "2025-10-18T14:30:00.000Z", 1_760_797_800
_TIMES = {"timestamp": _MOMENT, "iso_timestamp": _ISO}

DECISION: Document = {
    "PK": keys.decision_pk(_HUNTER, "SOURCE_SELECTION"),
    "SK": keys.dated_sk(_ISO, "dec_abc123"),
    "schema_version": 1,
    "agent_id": _HUNTER,
    "agent_version": "1.0.0",
    "decision_id": "dec_abc123",
    "decision_type": "SOURCE_SELECTION",
    **_TIMES,
    "context": {"market": {"volatility": "high"}, "cycle": 142},
    "inputs": {"whale_count": 5},
    "reasoning": {"scores": {"derivatives": 0.87}, "patterns_applied": ["pattern_whale_pump"]},
    "outcome": {"success": True, "quality_score": 0.85, "latency_ms": 1200},
    "outcome_rev": 1,
    "ttl": _MOMENT + 90 * 86_400,
}
SIGNAL: Document = {
    "PK": keys.signal_pk("WHALE_ACTIVITY", _HUNTER),
    "SK": keys.dated_sk(_ISO, "sig_xyz789"),
    "schema_version": 1,
    "signal_id": "sig_xyz789",
    "signal_type": "WHALE_ACTIVITY",
    "source_agent": _HUNTER,
    "target_agents": [_MANAGER, "trade-executor"],
    **_TIMES,
    "severity": "high",
    "confidence": 0.85,
    "data": {"whale_count": 5, "exchanges": ["binance", "coinbase"]},
    "context": {"market_condition": "bullish"},
    "recommended_action": "MONITOR_CLOSELY",
    "ttl": _MOMENT + 86_400,
}
MEMORY_ENTRY: Document = {
    "PK": keys.memory_pk(_HUNTER, "NOTE"),
    "SK": keys.dated_sk(_ISO, "mem_1"),
    "schema_version": 1,
    "agent_id": _HUNTER,
    "memory_id": "mem_1",
    "memory_type": "NOTE",
    **_TIMES,
    "event_time": "2008-10-10",
    "data": {"text": "whales gather before the weekend"},
    "importance": 0.6,
    "expires_at": _MOMENT + 86_400,
    "ttl": _MOMENT + 3 * 86_400,
}
STATE: Document = {
    "PK": keys.state_pk(_HUNTER),
    "SK": keys.CURRENT,
    "schema_version": 1,
    "agent_id": _HUNTER,
    "state_type": "CURRENT",
    "current_cycle": 142,
    "last_updated": _MOMENT,
    "configuration": {"learning_rate": 0.1},
    "state": {"watching": ["derivatives"]},
    "version": 156,
}
REGISTRATION: Document = {
    **keys.registration(_MANAGER).item(),
    "schema_version": 1,
    "agent_id": _MANAGER,
    "subscriptions": ["WHALE_ACTIVITY"],
    "accepts_from": [_HUNTER],
    "registered_at": _MOMENT,
}
#: By which the signal reaches its first target.
SIGNAL_MESSAGE: Document = messages.message_of(SIGNAL, _MANAGER, tables.SIGNALS)
ACKNOWLEDGEMENT: Document = {
    "status": "PROCESSED",
    "processed_at": _MOMENT + 2,
    "decision_id": "dec_risk42",
}
NOTICE_MESSAGE: Document = {
    "v": 1,
    "kind": "notice",
    "notice_id": "514111d5-56fa-41bf-9860-8f7da63b4ce2",
    "target_agent": _HUNTER,
    "code": "missing",
    "reasons": [
        {
            "code": "missing",
            "where": "decision_type",
            "message": "missing; every record of this kind has it",
        }
    ],
    "record": {"table": tables.DECISIONS, "PK": DECISION["PK"], "SK": DECISION["SK"]},
    "timestamp": _MOMENT + 1,
}
PATTERN_DEFINITION: Document = {
    "pattern_id": "whale_pump",
    "decision_type": "TRADE_ENTRY",
    "conditions": [{"path": "inputs.whale_count", "op": "ge", "value": 5}],
}
