"""The JSON Schema of a topology, for editors: `python -m model.schema > schema/topology.schema.json`.

It is made from `model.declaration`, the same declarations that drive the reading. It knows what single
values look like; what has to fit together only loading checks. A YAML file refers to it in its first line:

    # yaml-language-server: $schema=schema/topology.schema.json
"""

from __future__ import annotations

import json

from model.declaration import TOPOLOGY
from model.kinds import Schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def topology_schema() -> Schema:
    """The schema, draft 2020-12."""
    definitions: Schema = {}
    reference = TOPOLOGY.schema(definitions)
    return {"$schema": DIALECT, "title": "macvlan-fabric topology", **reference, "$defs": definitions}


def text() -> str:
    """The schema as it is committed."""
    return json.dumps(topology_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
