"""A schema of twelve fields, nested, with enums, nulls and arrays, and an answer that matches it."""

from __future__ import annotations

from typing import Any


def closed(**properties: Any) -> dict[str, Any]:
    """Return an object in which every property is required, and no other allowed."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
ORDER = closed(number=TEXT, items={"type": "array", "items": TEXT}, paid={"type": ["number", "null"]})
CONTACT = closed(name=TEXT, role={"type": "string", "enum": ["customer", "agent"]})

SCHEMA: dict[str, Any] = {
    "title": "Support ticket",
    **closed(
        category={"type": "string", "enum": ["billing", "bug", "account", "other"]},
        priority={"type": "string", "enum": ["low", "medium", "high"]},
        summary=TEXT,
        sentiment={"type": "number"},
        language=TEXT,
        is_angry={"type": "boolean"},
        refund={"type": ["number", "null"]},
        order={"anyOf": [{"$ref": "#/$defs/order"}, {"type": "null"}]},
        tags={"type": "array", "items": {"type": "string", "enum": ["urgent", "legal", "spam"]}},
        contacts={"type": "array", "items": {"$ref": "#/$defs/contact"}},
        replies={"type": "integer"},
        due={"type": ["string", "null"], "format": "date"},
    ),
    "$defs": {"order": ORDER, "contact": CONTACT},
}

ANSWER: dict[str, Any] = {
    "category": "bug",
    "priority": "low",
    "summary": "The export stops at row 1,000.",
    "sentiment": 0.25,
    "language": "en",
    "is_angry": True,
    "refund": None,
    "order": {"number": "A-7", "items": ["cable", "lamp"], "paid": 12.5},
    "tags": ["urgent", "legal"],
    "contacts": [{"name": "Ada", "role": "customer"}],
    "replies": 3,
    "due": "2026-12-01",
}
