"""What Airflow shows of an asset: its meaning, and its columns with their units."""

import textwrap
from collections.abc import Mapping
from typing import Any

import dagster as dg

WIDTH = 92


def asset_doc(key: dg.AssetKey, description: str | None, metadata: Mapping[str, Any]) -> str:
    """Markdown about an asset; its columns where the metadata has them."""
    head = f"**{key.to_user_string()}**: {description}" if description else f"**{key.to_user_string()}**"
    lines = textwrap.wrap(head, WIDTH)
    schema = metadata.get("dagster/column_schema")
    schema = getattr(schema, "schema", schema)
    if isinstance(schema, dg.TableSchema):
        lines.append("")
        for column in schema.columns:
            lines += _item(f"`{column.name}` ({column.type}): {column.description or ''}")
        lines.append("")
    return "\n".join(lines)


def check_doc(spec: dg.AssetCheckSpec) -> str:
    """A list item about a check."""
    blocking = ", blocking" if spec.blocking else ""
    said = f": {spec.description}" if spec.description else ""
    return "\n".join(_item(f"check `{spec.name}` of {spec.asset_key.to_user_string()}{blocking}{said}"))


def _item(text: str) -> list[str]:
    return textwrap.wrap(text.strip(), WIDTH, initial_indent="- ", subsequent_indent="  ")
